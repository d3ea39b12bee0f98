import { clip, show } from "./keys.ts"
import { CONFIG_FILE, formatPeftConfig, type PeftConfig, rankAndScale, readPeftConfig } from "./peft_config.ts"
import { isTarget } from "./peft_targets.ts"
import { readFloat32, readHeader, type SafetensorsEntry, type TensorInfo, writeSafetensors } from "./safetensors.ts"
import type { Folder, Source } from "./source.ts"

export { type PeftConfig, parsePeftConfig, rankAndScale, readPeftConfig, type TargetRule } from "./peft_config.ts"
export { type MergedAdapter, mergeAdapters } from "./peft_merge.ts"
export { isTarget, type LinearModule, linearModules, linearWeight, targetModules } from "./peft_targets.ts"

/** A LoRA adapter: `y = W x + scale * B A x` in some linear modules (arXiv:2106.09685). */
export interface PeftAdapter {
  readonly config: PeftConfig
  /** By the module's path as in the checkpoint without `.weight`: `model.layers.0.self_attn.q_proj`. */
  readonly modules: ReadonlyMap<string, PeftModule>
}

/** The adapter of one module. */
export interface PeftModule {
  readonly rank: number
  /** `alpha / rank`, or `alpha / sqrt(rank)`, with the config's overrides of both. */
  readonly scale: number
  readonly in: number
  readonly out: number
  /** `[rank, in]` */
  readonly a: Float32Array
  /** `[out, rank]` */
  readonly b: Float32Array
  /** `[out]`, the norms of the adapted rows, in DoRA only: `y = magnitude / |W + scale * B A| * (W + scale * B A) x`. */
  readonly magnitude?: Float32Array
}

const WEIGHTS_FILE = "adapter_model.safetensors"
const PICKLE_FILE = "adapter_model.bin"
const PREFIX = "base_model.model."
/** PEFT leaves the adapter's own name out of its files; others keep it before `.weight`. */
const KEY = /^base_model\.model\.(.+)\.(?:lora_([AB])(?:\.[^.]+)?\.weight|lora_(magnitude)_vector(?:\.[^.]+){0,2})$/

type Part = "A" | "B" | "magnitude"
type Parts = { [part in Part]?: TensorInfo }

/**
 * Reads an adapter folder as PEFT saves it: adapter_config.json and adapter_model.safetensors. Nothing of them is passed
 * over: what the config or a tensor asks for is done, or refused by name.
 *
 * @throws RangeError, TypeError or SyntaxError naming the file
 */
export async function readAdapter(folder: Folder): Promise<PeftAdapter> {
  const config = await readPeftConfig(folder)
  const source = await openWeights(folder)
  const { tensors } = await readHeader(source, WEIGHTS_FILE)
  const modules = new Map<string, PeftModule>()
  for (const [path, parts] of gatherParts(tensors.values())) {
    modules.set(path, await readModule(config, source, path, parts))
  }
  if (modules.size === 0) throw new RangeError(`${WEIGHTS_FILE}: number of tensors is 0, expected an adapter's`)
  return { config, modules }
}

async function openWeights(folder: Folder): Promise<Source> {
  const source = await folder.open(WEIGHTS_FILE)
  if (source) return source
  if (await folder.open(PICKLE_FILE)) {
    const how = "load it with PEFT and save it with save_pretrained"
    throw new TypeError(`${folder.name}: ${PICKLE_FILE} is a pickle, expected ${WEIGHTS_FILE} (${how})`)
  }
  throw new RangeError(`${folder.name}: ${WEIGHTS_FILE} is missing, expected the folder of a PEFT adapter`)
}

/** The tensors of each module, in the order of the file. */
function gatherParts(tensors: Iterable<TensorInfo>): Map<string, Parts> {
  const modules = new Map<string, Parts>()
  for (const info of tensors) {
    const [, path, letter, magnitude] = KEY.exec(info.name) ?? []
    const part = (letter ?? magnitude) as Part | undefined
    if (path === undefined || part === undefined || path.split(".").includes("modules_to_save")) throw unknownKey(info)
    const parts = modules.get(path) ?? {}
    const other = parts[part]
    if (other) {
      throw new RangeError(`${WEIGHTS_FILE}: ${clip(info.name)} is beside ${clip(other.name)}, expected one of them`)
    }
    parts[part] = info
    modules.set(path, parts)
  }
  return modules
}

/** What a tensor is that is not read here. The first that fits counts. */
const OTHER_KINDS: readonly (readonly [RegExp, string])[] = [
  [/\.lora_embedding_[AB]\b/, "the adapter of an embedding"],
  [/\bbias$/, "a bias"],
  [/^(?!base_model\.model\.)/, `not under ${PREFIX}`],
  [/\.lora_/, "of an unknown kind"],
  [/^/, "a whole weight (modules_to_save)"],
]

function unknownKey({ name }: TensorInfo): RangeError {
  const [, kind] = OTHER_KINDS.find(([key]) => key.test(name))!
  const expected = "<module>.lora_A.weight, lora_B.weight or lora_magnitude_vector of a linear module"
  return new RangeError(`${WEIGHTS_FILE}: ${clip(name)} is ${kind}, expected ${PREFIX}${expected}`)
}

async function readModule(config: PeftConfig, source: Source, path: string, parts: Parts): Promise<PeftModule> {
  const { A, B, magnitude } = parts
  const fail = (is: string, expected: string) =>
    new RangeError(`${WEIGHTS_FILE}: ${clip(path)} ${is}, expected ${expected}`)
  if (!A || !B) throw fail(`lora_${A ? "B" : "A"}.weight is missing`, "it beside the other")
  if (!isTarget(config.targets, path)) {
    throw fail("is an adapted module", `one of target_modules ${show(config.targets.modules)} in ${CONFIG_FILE}`)
  }
  if (config.useDora !== (magnitude !== undefined)) {
    throw fail(`lora_magnitude_vector is ${magnitude ? "there" : "missing"}`, `use_dora to be ${!config.useDora}`)
  }
  const { rank, scale } = rankAndScale(config, path)
  const width = A.shape[1] ?? 0
  const out = B.shape[0] ?? 0
  expectShape(A, [rank, width], "[r, in]")
  expectShape(B, [out, rank], "[out, r]")
  const module = { rank, scale, in: width, out, a: await readFinite(source, A), b: await readFinite(source, B) }
  if (!magnitude) return module
  expectShape(magnitude, [out], "[out]")
  return { ...module, magnitude: await readFinite(source, magnitude) }
}

function expectShape({ name, shape }: TensorInfo, expected: readonly number[], letters: string): void {
  const same = shape.length === expected.length && shape.every((extent, i) => extent === expected[i])
  if (same && !shape.includes(0)) return
  throw new RangeError(
    `${WEIGHTS_FILE}: ${clip(name)} is ${show(shape)}, expected ${letters} = ${show(expected)} (r by ${CONFIG_FILE})`,
  )
}

async function readFinite(source: Source, info: TensorInfo): Promise<Float32Array> {
  const values = await readFloats(source, info)
  const bad = values.findIndex((value) => !Number.isFinite(value))
  if (bad < 0) return values
  throw new RangeError(`${WEIGHTS_FILE}: ${clip(info.name)}[${bad}] is ${values[bad]}, expected a finite float32`)
}

async function readFloats(source: Source, info: TensorInfo): Promise<Float32Array> {
  const { name, dtype, start, end } = info
  if (dtype === "F64") return Float32Array.from(new Float64Array(await source.slice(start, end)))
  if (dtype === "F32" || dtype === "F16" || dtype === "BF16") return readFloat32(source, info)
  throw new TypeError(`${WEIGHTS_FILE}: ${clip(name)} is ${dtype}, expected F64, F32, F16 or BF16`)
}

/**
 * The two files of an adapter folder as PEFT writes them, with float32 tensors in the order of their names.
 *
 * @throws RangeError when a module does not fit the config, which would be read back as something else
 */
export async function adapterFiles({ config, modules }: PeftAdapter): Promise<Map<string, Uint8Array>> {
  const entries: SafetensorsEntry[] = []
  for (const [path, module] of modules) {
    expectWritable(config, path, module)
    const { rank, in: width, out, a, b, magnitude } = module
    const name = `${PREFIX}${path}.lora_`
    entries.push(entry(`${name}A.weight`, [rank, width], a), entry(`${name}B.weight`, [out, rank], b))
    if (magnitude) entries.push(entry(`${name}magnitude_vector`, [out], magnitude))
  }
  entries.sort((x, y) => (x.name < y.name ? -1 : 1))
  const chunks: Uint8Array[] = []
  for await (const chunk of writeSafetensors(entries, { format: "pt" })) chunks.push(chunk)
  const json = new TextEncoder().encode(formatPeftConfig(config))
  return new Map([
    [CONFIG_FILE, json],
    [WEIGHTS_FILE, joined(chunks)],
  ])
}

function expectWritable(config: PeftConfig, path: string, module: PeftModule): void {
  const { rank, scale } = rankAndScale(config, path)
  const fail = (what: string, is: unknown, expected: unknown) => {
    throw new RangeError(`adapterFiles: ${path} ${what} is ${is}, expected ${expected} by the config`)
  }
  if (module.rank !== rank) fail("rank", module.rank, rank)
  if (module.scale !== scale) fail("scale", module.scale, scale)
  if ((module.magnitude !== undefined) !== config.useDora) fail("use of DoRA", !config.useDora, config.useDora)
  if (!isTarget(config.targets, path)) fail("as a target", "unlisted", `one of ${show(config.targets.modules)}`)
}

function entry(name: string, shape: readonly number[], values: Float32Array): SafetensorsEntry {
  return { name, dtype: "F32", shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) }
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.byteLength, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.byteLength
  }
  return bytes
}
