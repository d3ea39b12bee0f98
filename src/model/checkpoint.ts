import {
  type ConfigOptions,
  type GenerationConfig,
  type ModelConfig,
  parseConfig,
  parseGenerationConfig,
} from "./config.ts"
import { type Blocks, openGguf } from "./gguf/checkpoint.ts"
import { findGguf } from "./gguf/find.ts"
import { clip, isObject, Keys, show } from "./keys.ts"
import { expectTernary } from "./packed.ts"
import { expectQuantized } from "./quantized.ts"
import { readHeader, type SafetensorsHeader, type TensorInfo } from "./safetensors.ts"
import { type Folder, readJson, type Source, staysInside } from "./source.ts"
import { isHead, type WeightSpec, weightTable } from "./weights.ts"

/** A tensor and the file that holds it. */
export interface StoredTensor {
  readonly file: string
  readonly source: Source
  readonly info: TensorInfo
  /** Of a weight that a file has in blocks of codes, which `source` and `info` give as F32: the blocks themselves. */
  readonly blocks?: Blocks | undefined
}

/** A tensor of the text model, found and checked against the config. */
export interface Weight extends StoredTensor {
  readonly spec: WeightSpec
  /** Of a weight that is stored in ternary form: the number that its trits are multiplied by. */
  readonly scale?: StoredTensor | undefined
}

/** Bytes of a tensor that are held at a time. */
const PIECE = 2 ** 22

/** A tensor's bytes as they are, a few at a time. */
export async function* storedBytes({ source, info }: StoredTensor): AsyncGenerator<Uint8Array> {
  for (let at = info.start; at < info.end; at += PIECE) {
    yield new Uint8Array(await source.slice(at, Math.min(at + PIECE, info.end)))
  }
}

/** A checkpoint folder of which only the headers have been read. */
export interface Checkpoint {
  readonly folder: Folder
  readonly config: ModelConfig
  /** Undefined when the folder has no generation_config.json. */
  readonly generation: GenerationConfig | undefined
  /** The safetensors files, in the index's order, or the one GGUF file. */
  readonly files: readonly { readonly name: string; readonly byteLength: number }[]
  /** Every tensor of every file under its full name, those of a vision tower too; a weight in blocks is one of them. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** What stands before the text model's names: `model.`, `language_model.model.`, ... */
  readonly prefix: string
  /** The text model's tensors by field. All are there, of the right shape, in F32, F16 or BF16. */
  readonly weights: ReadonlyMap<string, Weight>
  /** The files' own `__metadata__`; of a GGUF its general notes. */
  readonly metadata: ReadonlyMap<string, string>
  /** Closes the folder. */
  close(): Promise<void>
}

const SINGLE = "model.safetensors"
const INDEX = "model.safetensors.index.json"
/** From the newest transformers' multimodal names to a bare text model, each with what stands before its head's name. */
const PREFIXES = [
  { prefix: "model.language_model.", outer: "" },
  { prefix: "language_model.model.", outer: "language_model." },
  { prefix: "model.", outer: "" },
  { prefix: "", outer: "" },
] as const
const HEAD = "lm_head.weight"
/** The image side of a multimodal checkpoint, and angle tables that old saves hold. */
const IGNORED = /^(model\.)?(vision_tower|multi_modal_projector)\.|(^|\.)rotary_emb(_local)?\.inv_freq$/

/**
 * Reads a folder's config and headers, those of a GGUF file where it names one or has nothing else, and checks every tensor
 * against the config before a weight is touched.
 * The folder is closed if that fails.
 *
 * @throws TypeError, RangeError or SyntaxError naming the file and what is wrong with it
 */
export async function openCheckpoint(given: Folder, options: ConfigOptions = {}): Promise<Checkpoint> {
  try {
    const file = await findGguf(given)
    const gguf = file === undefined ? undefined : await openGguf(given, file, options.ignoreKeys ?? [])
    const folder = gguf?.folder ?? given
    const json = await readJson(folder, "config.json")
    if (json === undefined) throw new RangeError(`${folder.name}: config.json is missing, expected a checkpoint folder`)
    const config = parseConfig(json, gguf?.subject ?? "config.json", options)
    const generationJson = await readJson(folder, "generation_config.json")
    const generation =
      generationJson === undefined ? undefined : parseGenerationConfig(generationJson, "generation_config.json")
    const { files, metadata, subject, tensors: stored } = gguf ?? (await readFiles(folder))
    const { prefix, weights, tensors } = resolve(config, { tensors: stored, metadata, subject })
    await expectTied(config, prefix, tensors)
    return {
      folder,
      config,
      generation,
      files,
      tensors,
      prefix,
      weights,
      metadata,
      close: async () => folder.close?.(),
    }
  } catch (error) {
    await given.close?.()
    throw error
  }
}

interface Opened {
  name: string
  source: Source
  header: SafetensorsHeader
}

async function readFiles(folder: Folder) {
  const single = await folder.open(SINGLE)
  if (single) return gather([{ name: SINGLE, source: single, header: await readHeader(single, SINGLE) }], SINGLE)
  const json = await readJson(folder, INDEX)
  if (json === undefined) throw new RangeError(`${folder.name}: ${SINGLE} is missing, expected it or ${INDEX}`)
  const map = weightMap(json)
  const shards = await Promise.all([...new Set(map.values())].map((name) => openShard(folder, name)))
  const gathered = gather(shards, INDEX)
  for (const [tensor, shard] of map) {
    const found = gathered.tensors.get(tensor)?.file
    if (found === shard) continue
    throw new RangeError(
      `${INDEX}: ${clip(tensor)} is in ${found ?? "no shard"}, expected in ${shard} by the weight_map`,
    )
  }
  for (const [tensor, { file }] of gathered.tensors) {
    if (map.has(tensor) || IGNORED.test(tensor)) continue
    throw new RangeError(`${file}: ${clip(tensor)} is not in the weight_map, expected each tensor in ${INDEX}`)
  }
  return gathered
}

/** Tensor name -> shard name. */
function weightMap(json: unknown): Map<string, string> {
  const map = new Keys(json, INDEX).get("weight_map")
  if (!isObject(map)) throw new TypeError(`${INDEX}: weight_map is ${show(map)}, expected an object`)
  const entries = Object.entries(map)
  if (entries.length === 0) throw new RangeError(`${INDEX}: weight_map is {}, expected at least one tensor`)
  return new Map(
    entries.map(([tensor, shard]) => {
      if (typeof shard !== "string") {
        throw new TypeError(`${INDEX}: ${clip(tensor)} is in ${show(shard)}, expected a file name`)
      }
      if (!staysInside(shard)) {
        throw new RangeError(`${INDEX}: ${clip(tensor)} is in ${show(shard)}, expected a name inside the folder`)
      }
      return [tensor, shard]
    }),
  )
}

async function openShard(folder: Folder, name: string): Promise<Opened> {
  const source = await folder.open(name)
  if (!source) throw new RangeError(`${INDEX}: shard ${clip(name)} is missing, expected it in ${folder.name}`)
  return { name, source, header: await readHeader(source, name) }
}

function gather(opened: readonly Opened[], subject: string) {
  const tensors = new Map<string, StoredTensor>()
  const metadata = new Map<string, string>()
  for (const { name: file, source, header } of opened) {
    for (const [name, info] of header.tensors) {
      const other = tensors.get(name)
      if (other) throw new RangeError(`${file}: ${clip(name)} is in ${other.file} too, expected in one shard`)
      tensors.set(name, { file, source, info })
    }
    for (const [key, value] of header.metadata) metadata.set(key, value)
  }
  const files = opened.map(({ name, source }) => ({ name, byteLength: source.byteLength }))
  return { files, tensors, metadata, subject }
}

/** What the files of a checkpoint hold. */
interface Found {
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly metadata: ReadonlyMap<string, string>
  readonly subject: string
}

/**
 * Finds the text model's tensors. Nothing may be missing, of another shape or dtype, or left over.
 *
 * @returns all tensors, too: one that is stored as codes as F32, and without those that belong to it
 */
function resolve(config: ModelConfig, { tensors: stored, metadata, subject }: Found) {
  const tensors = new Map(stored)
  const table = weightTable(config)
  const embedding = table[0]!.name
  const [at, second] = PREFIXES.filter(({ prefix }) => tensors.has(`${prefix}${embedding}`))
  if (!at) {
    const places = PREFIXES.map(({ prefix }) => prefix || "no prefix").join(", ")
    throw new RangeError(`${subject}: ${embedding} is missing, expected it under one of ${places}`)
  }
  if (second) {
    const both = `${at.prefix}${embedding} and ${second.prefix}${embedding}`
    throw new RangeError(`${subject}: text model is ambiguous with ${both}, expected one of them`)
  }
  const weights = new Map<string, Weight>()
  const used = new Set([`${at.outer}${HEAD}`]) // a tied head may be stored all the same
  for (const inTable of table) {
    const prefix = isHead(inTable) ? at.outer : at.prefix
    for (const { name, ...spec } of storedForms(inTable, prefix, tensors)) {
      const stored = tensors.get(prefix + name)
      const expected = `${spec.letters} = ${list(spec.shape)}`
      if (!stored) throw new RangeError(`${subject}: ${prefix}${name} is missing, expected ${expected}`)
      used.add(prefix + name)
      const scale = spec.ternary ? expectTernary(stored, spec.shape, tensors) : undefined
      if (scale) used.add(scale.info.name)
      const quantized = spec.ternary ? undefined : expectQuantized(stored, spec.shape, tensors, metadata)
      for (const part of quantized?.parts ?? []) tensors.delete(part)
      const weight = quantized?.weight ?? stored
      if (!scale) expectWeight(weight, expected, spec.shape)
      tensors.set(prefix + name, weight)
      weights.set(spec.field, { spec: { name, ...spec }, scale, ...weight })
    }
  }
  for (const [name, { file }] of tensors) {
    if (used.has(name) || IGNORED.test(name)) continue
    throw new RangeError(
      `${file}: ${clip(name)} is left over, expected no such tensor for ${config.modelType} (is config.json from another model?)`,
    )
  }
  return { prefix: at.prefix, weights, tensors }
}

/** A linear layer's weight may be stored as two factors instead: `PATH.u.weight` `[N, R]` and `PATH.v.weight` `[R, C]`. */
function storedForms(spec: WeightSpec, prefix: string, tensors: ReadonlyMap<string, StoredTensor>): WeightSpec[] {
  const [N, C] = spec.shape
  const factor = (which: "u" | "v") => spec.name.replace(/weight$/, `${which}.weight`)
  const u = tensors.get(prefix + factor("u"))
  if (!u || C === undefined || !spec.field.startsWith("layers.") || spec.ternary) return [spec]
  if (tensors.has(prefix + spec.name)) return [spec]
  const R = (u.info.shape[1] ?? 0) * (u.info.dtype === "U8" ? 2 : 1) // two codes of q4 to a byte
  if (R < 4 || R % 4 !== 0) {
    throw new RangeError(`${u.file}: ${u.info.name} is ${list(u.info.shape)}, expected a rank that is a multiple of 4`)
  }
  const [rows, columns] = spec.letters.slice(1, -1).split(", ")
  return [
    { field: `${spec.field}.u`, name: factor("u"), shape: [N!, R], letters: `[${rows}, R]` },
    { field: `${spec.field}.v`, name: factor("v"), shape: [R, C], letters: `[R, ${columns}]` },
  ]
}

function expectWeight({ file, info }: StoredTensor, expected: string, shape: readonly number[]): void {
  if (info.shape.length !== shape.length || info.shape.some((extent, i) => extent !== shape[i])) {
    const is = clip(list(info.shape), 60)
    throw new RangeError(`${file}: ${info.name} is ${is}, expected ${expected} (is config.json from another size?)`)
  }
  if (info.dtype !== "F32" && info.dtype !== "F16" && info.dtype !== "BF16") {
    throw new TypeError(`${file}: ${info.name} is ${info.dtype}, expected F32, F16 or BF16`)
  }
}

function list(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`
}

/**
 * A tied checkpoint may store its head as well. Old transformers drop it; transformers 5 uses it if it differs from the
 * embedding. Where they would disagree the checkpoint is refused; a few samples tell, as an untied head differs everywhere.
 */
async function expectTied(config: ModelConfig, prefix: string, tensors: ReadonlyMap<string, StoredTensor>) {
  const head = tensors.get(PREFIXES.find((each) => each.prefix === prefix)!.outer + HEAD)
  if (!config.tiedHead || !head) return
  const embedding = tensors.get(`${prefix}embed_tokens.weight`)!
  const expected = `the same as ${embedding.info.name}, as tie_word_embeddings is true`
  expectWeight(head, expected, embedding.info.shape)
  const bytes = head.info.end - head.info.start
  let same = head.info.dtype === embedding.info.dtype
  const samples = 8
  const length = Math.min(4096, bytes)
  for (let i = 0; same && i < samples; i++) {
    const at = Math.floor(((bytes - length) * i) / (samples - 1))
    const [a, b] = await Promise.all(
      [head, embedding].map(
        async ({ source, info }) => new Uint8Array(await source.slice(info.start + at, info.start + at + length)),
      ),
    )
    same = a!.every((byte, j) => byte === b![j])
  }
  if (!same) throw new RangeError(`${head.file}: ${head.info.name} is different, expected ${expected}`)
}
