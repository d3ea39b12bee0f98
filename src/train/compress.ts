import { type Checkpoint, type StoredTensor, storedBytes } from "../model/checkpoint.ts"
import { DTYPE_BYTES, decodeToFloat32, encodeFloat32 } from "../model/dtype.ts"
import type { TargetRule } from "../model/peft_config.ts"
import { linearModules, targetModules } from "../model/peft_targets.ts"
import { type SafetensorsEntry, writeSafetensors } from "../model/safetensors.ts"
import type { Store } from "../model/store.ts"
import { factorize, isSmaller, RANK_STEP, rankForEnergy, singularValues } from "./factorize.ts"
import { copyFiles } from "./model_files.ts"

/**
 * The rank of each layer `[N, C]`: a share of min(N, C) to the nearest multiple of 4, the same for all, or the least that
 * keeps a share of the sum of the squared singular values.
 */
export type RankRule = { readonly fraction: number } | { readonly absolute: number } | { readonly energy: number }

export interface CompressOptions {
  readonly rank: RankRule
  /** Which linear layers of the blocks; all by default. Embedding, head and norms stay as they are in any case. */
  readonly modules?: TargetRule
  /** The second moment `[C, C]` of each layer's inputs, by path: what is kept are its outputs on these. */
  readonly moments?: ReadonlyMap<string, Float64Array>
  /** Told of each layer that was factorised, in the order of the files. */
  readonly onLayer?: (layer: CompressedLayer, done: number, of: number) => void
  readonly signal?: AbortSignal
}

export interface CompressedLayer {
  readonly path: string
  /** `[N, C]` */
  readonly shape: readonly [number, number]
  /** Null where a low-rank layer would not be smaller: it stays as it is. */
  readonly rank: number | null
  /** `||W - u v|| / ||W||`; 0 for a layer that stays as it is, low-rank ones included. */
  readonly error: number
  /** The same of its outputs, where there are moments. */
  readonly outputError?: number
  readonly bytesBefore: number
  readonly bytesAfter: number
}

export interface Compression {
  /** The layers that were chosen, in the order of a forward pass. */
  readonly layers: readonly CompressedLayer[]
  /** Of all tensors. */
  readonly bytesBefore: number
  readonly bytesAfter: number
}

/** A dense layer that was chosen. */
interface Layer {
  readonly path: string
  readonly shape: readonly [number, number]
  readonly stored: StoredTensor
  readonly moment: Float64Array | undefined
}

/**
 * Writes a checkpoint whose linear layers `PATH.weight [N, C]` are stored as `PATH.u.weight [N, R]` and
 * `PATH.v.weight [R, C]`, in the type that the weight has, into one file, with the small files beside it. Layers that are
 * low-rank already and all other tensors are the stored bytes. One layer at a time is in memory. An energy needs each
 * layer's singular values before the file is begun, so that it reads the layers twice.
 *
 * @throws RangeError when nothing would become smaller, TypeError when a layer has no moment where others have one
 */
export async function compress(checkpoint: Checkpoint, store: Store, options: CompressOptions): Promise<Compression> {
  expectRule(options.rank)
  const { onLayer, signal } = options
  const { dense, kept } = chosenLayers(checkpoint, options)
  const ranks = new Map<Layer, number>()
  for (const layer of dense) {
    signal?.throwIfAborted()
    const rank = await rankOf(layer, options.rank)
    if (isSmaller(rank, layer.shape)) ranks.set(layer, rank)
  }
  if (ranks.size === 0) {
    const is = `rank is ${JSON.stringify(options.rank)}`
    throw new RangeError(`compress: ${is}, expected one that makes a dense layer of ${checkpoint.folder.name} smaller`)
  }
  const results = new Map(kept.map((layer) => [layer.path, layer]))
  for (const layer of dense) if (!ranks.has(layer)) results.set(layer.path, unchanged(layer, null, byteSize(layer)))
  let done = 0
  const entries = compressedEntries(checkpoint, ranks, (layer) => {
    signal?.throwIfAborted()
    results.set(layer.path, layer)
    onLayer?.(layer, ++done, ranks.size)
  })
  await store.write("model.safetensors", writeSafetensors(entries, { format: "pt" }))
  await copyFiles(checkpoint.folder, store)
  const layers = linearModules(checkpoint.config, checkpoint.prefix).flatMap(({ path }) => results.get(path) ?? [])
  const bytesBefore = [...checkpoint.tensors.values()].reduce((sum, { info }) => sum + info.end - info.start, 0)
  const saved = layers.reduce((sum, layer) => sum + layer.bytesBefore - layer.bytesAfter, 0)
  return { layers, bytesBefore, bytesAfter: bytesBefore - saved }
}

function expectRule(rule: RankRule): void {
  const share = "fraction" in rule ? rule.fraction : "energy" in rule ? rule.energy : undefined
  const fail = (is: number, expected: string) => new RangeError(`compress: rank is ${is}, expected ${expected}`)
  if (share !== undefined && !(share > 0 && share <= 1)) throw fail(share, "a share of (0, 1]")
  if (!("absolute" in rule) || (rule.absolute > 0 && rule.absolute % RANK_STEP === 0)) return
  throw fail(rule.absolute, `a multiple of ${RANK_STEP}`)
}

/** The layers that the rule selects: those to factorise, and those that are low-rank already. */
function chosenLayers(checkpoint: Checkpoint, { modules, moments }: CompressOptions) {
  const { config, prefix, tensors, folder } = checkpoint
  if (config.modelType === "hgrn_bit") {
    throw new RangeError(`compress: weights of ${folder.name} are ternary, expected a model that computes with its own`)
  }
  const inBlocks = linearModules(config, prefix).filter(({ field }) => field.startsWith("layers."))
  const paths = inBlocks.map(({ path }) => path)
  const chosen = new Set(targetModules(modules ?? { modules: "all-linear" }, paths))
  const dense: Layer[] = []
  const kept: CompressedLayer[] = []
  for (const { path, shape } of inBlocks) {
    if (!chosen.has(path)) continue
    const stored = tensors.get(`${path}.weight`)
    if (!stored) {
      const [u, v] = [tensors.get(`${path}.u.weight`)!, tensors.get(`${path}.v.weight`)!]
      kept.push(unchanged({ path, shape }, v.info.shape[0]!, byteSize({ stored: u }) + byteSize({ stored: v })))
      continue
    }
    const moment = moments?.get(path)
    if (moments && !moment)
      throw new TypeError(`compress: moments of ${path} are missing, expected those of its inputs`)
    dense.push({ path, shape, stored, moment })
  }
  return { dense, kept }
}

function unchanged(
  { path, shape }: Pick<Layer, "path" | "shape">,
  rank: number | null,
  bytes: number,
): CompressedLayer {
  return { path, shape, rank, error: 0, bytesBefore: bytes, bytesAfter: bytes }
}

function byteSize({ stored: { info } }: Pick<Layer, "stored">): number {
  return info.end - info.start
}

async function rankOf({ shape, stored, moment }: Layer, rule: RankRule): Promise<number> {
  if ("absolute" in rule) return rule.absolute
  if ("energy" in rule) return rankForEnergy(singularValues(await readWeight(stored), shape, moment), rule.energy)
  return Math.max(RANK_STEP, Math.round((rule.fraction * Math.min(...shape)) / RANK_STEP) * RANK_STEP)
}

/** The tensors of the new checkpoint. Those of a layer are computed when it is their turn to be written. */
function compressedEntries(
  checkpoint: Checkpoint,
  ranks: ReadonlyMap<Layer, number>,
  onLayer: (layer: CompressedLayer) => void,
): SafetensorsEntry[] {
  const layers = new Map([...ranks].map(([layer, rank]) => [layer.stored.info.name, { layer, rank }]))
  return [...checkpoint.tensors.values()].flatMap((stored) => {
    const { name, dtype, shape } = stored.info
    const found = layers.get(name)
    if (!found) return [{ name, dtype, shape, bytes: () => storedBytes(stored) }]
    return factorEntries(found.layer, found.rank, onLayer)
  })
}

/** Both are computed when the first is asked for; the second is kept until its turn, which is the next. */
function factorEntries(layer: Layer, rank: number, onLayer: (layer: CompressedLayer) => void): SafetensorsEntry[] {
  const { path, shape, stored, moment } = layer
  const { dtype } = stored.info
  const bytesAfter = rank * (shape[0] + shape[1]) * DTYPE_BYTES[dtype]
  let second: Uint8Array[] = []
  async function* first() {
    const { u, v, error, outputError } = factorize(await readWeight(stored), shape, { rank }, moment)
    onLayer({
      ...{ path, shape, rank, error },
      ...(outputError !== undefined && { outputError }),
      ...{ bytesBefore: byteSize(layer), bytesAfter },
    })
    second = [encodeFloat32(dtype, Float32Array.from(v))]
    yield encodeFloat32(dtype, Float32Array.from(u))
  }
  return [
    { name: `${path}.u.weight`, dtype, shape: [shape[0], rank], bytes: first },
    { name: `${path}.v.weight`, dtype, shape: [rank, shape[1]], bytes: () => second.splice(0) },
  ]
}

async function readWeight({ source, info }: StoredTensor): Promise<Float32Array> {
  return decodeToFloat32(info.dtype, new Uint8Array(await source.slice(info.start, info.end)))
}
