import { isGguf, onlyGguf } from "../model/gguf/find.ts"
import { HubError } from "./errors.ts"

export const SINGLE = "model.safetensors"
export const INDEX = "model.safetensors.index.json"

/** What goes with the weights, where the repository has it. */
const COMPANIONS = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "special_tokens_map.json",
]

const WEIGHTS = /\.(safetensors|bin|gguf|ggml|pth?|ckpt|h5|msgpack|onnx|npz|tflite|task|litertlm)$/

/**
 * The files of a repository that a model needs; of a sharded one the index, its shards being known later.
 * One weights file wins over an index, as in transformers; a GGUF is taken where it is asked for or nothing else is there.
 *
 * @param file the GGUF that is asked for
 * @throws HubError when there is no config.json, or neither safetensors nor a GGUF; RangeError for several GGUFs
 */
export function chooseFiles(id: string, names: string[], file?: string): string[] {
  const has = new Set(names)
  const weights = [SINGLE, INDEX].find((name) => has.has(name))
  const gguf = file ?? (weights === undefined ? onlyGguf(id, names) : undefined)
  if (gguf !== undefined) {
    if (has.has(gguf)) return [...COMPANIONS.filter((name) => has.has(name) && name !== "config.json"), gguf]
    throw new HubError("missing", `${id}: ${gguf} is missing; its GGUF files are ${list(names.filter(isGguf))}`)
  }
  if (weights === undefined) {
    const others = names.filter((name) => WEIGHTS.test(name))
    const what = others.length > 0 ? `weights are ${list(others)}` : `files are ${list(names)}`
    throw new HubError("unsupported", `${id}: ${what}, expected ${SINGLE}, ${INDEX} or a GGUF`)
  }
  if (!has.has("config.json")) {
    throw new HubError("unsupported", `${id}: config.json is missing; the files are ${list(names)}`)
  }
  return [...COMPANIONS.filter((name) => has.has(name)), weights]
}

/** @throws SyntaxError when the text is no index, or names what cannot be a file beside it */
export function shardNames(index: string): string[] {
  let map: unknown
  try {
    map = (JSON.parse(index) as { weight_map?: unknown } | null)?.weight_map
  } catch (cause) {
    throw new SyntaxError(`${INDEX}: text is no JSON`, { cause })
  }
  if (typeof map !== "object" || map === null || Object.keys(map).length === 0) {
    throw new SyntaxError(`${INDEX}: weight_map is ${JSON.stringify(map)}, expected tensor names with their shards`)
  }
  const names = [...new Set<unknown>(Object.values(map))]
  for (const name of names) {
    if (typeof name !== "string" || !/^[\w-][\w.-]*\.safetensors$/.test(name)) {
      throw new SyntaxError(`${INDEX}: shard is ${JSON.stringify(name)}, expected the name of a safetensors file`)
    }
  }
  return (names as string[]).sort()
}

function list(names: string[]): string {
  if (names.length === 0) return "none"
  return names.length > 8 ? `${names.slice(0, 8).join(", ")} and ${names.length - 8} more` : names.join(", ")
}
