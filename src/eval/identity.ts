import { adaptersDigest } from "../model/prefix_identity.ts"
import { hex, sha256, sha256Text } from "../model/sha256.ts"
import type { Folder } from "../model/source.ts"
import { internals, type LanguageModel } from "../session.ts"
import type { RunIdentity } from "./results.ts"

/** Bytes of a file that are hashed at a time. */
const PIECE = 16 * 2 ** 20
/** What a model is made of. */
const PARTS =
  /\.(safetensors|gguf)$|^(config|tokenizer|tokenizer_config|model\.safetensors\.index)\.json$|^chat_template\./

/** What results are of. */
export interface ModelFacts extends Pick<RunIdentity, "model" | "adapters" | "settings"> {
  /** What computes, for people. */
  readonly device: string
}

/**
 * What a session's model is, for results: a hash of its files, and one of the adapters that are on. Reads every byte once.
 *
 * @param settings how it was loaded: types of weights and cache
 */
export async function modelIdentity(lm: LanguageModel, settings: RunIdentity["settings"] = {}): Promise<ModelFacts> {
  const { folder, model } = internals(lm)
  const on = lm.adapters.filter((each) => each.on).map((each) => each.name)
  return {
    model: { name: lm.name, hash: await folderHash(folder) },
    adapters: on.length === 0 ? null : { names: on, hash: await adaptersDigest(model.device, model.network) },
    settings,
    device: lm.device.description,
  }
}

/** The run that results with this identity belong to. */
export async function runId(identity: RunIdentity): Promise<string> {
  // What a model is called is no part of what it is.
  const { model, adapters, ...rest } = identity
  const same = { model: model.hash, adapters: adapters?.hash ?? null, ...rest }
  return (await sha256Text(JSON.stringify(sorted(same)))).slice(0, 16)
}

async function folderHash(folder: Folder): Promise<string> {
  const names = folder.file ? [folder.file] : ((await folder.list?.()) ?? KNOWN).filter((name) => PARTS.test(name))
  const parts: string[] = []
  for (const name of [...names].sort()) {
    const source = await folder.open(name)
    if (!source) continue
    for (let at = 0; at < source.byteLength; at += PIECE) {
      const bytes = await source.slice(at, Math.min(at + PIECE, source.byteLength))
      parts.push(`${name} ${at} ${hex(await sha256(bytes))}`)
    }
  }
  await folder.close?.()
  return sha256Text(parts.join("\n"))
}

/** Where a folder cannot be listed, as over HTTP. */
const KNOWN = [
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "model.safetensors",
  "model.safetensors.index.json",
]

/** The same value with the keys of its objects in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => [key, sorted(each)]),
  )
}
