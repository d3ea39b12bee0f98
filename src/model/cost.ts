import type { ModelConfig } from "./config.ts"
import type { TransformerConfig } from "./transformer_config.ts"
import { type WeightSpec, weightTable } from "./weights.ts"

/** Parameters by part of the model. A tied head has none of its own. */
export interface ParameterCounts {
  embedding: number
  attention: number
  /** The token mixers of a recurrent model. */
  recurrence: number
  mlp: number
  norms: number
  head: number
  total: number
}

/** Counts what a model of this config is made of, or those tensors that one is made of. */
export function parameterCounts(model: ModelConfig | readonly WeightSpec[]): ParameterCounts {
  const counts = { embedding: 0, attention: 0, recurrence: 0, mlp: 0, norms: 0, head: 0, total: 0 }
  for (const { field, shape } of "modelType" in model ? weightTable(model) : model) {
    const count = shape.reduce((product, extent) => product * extent, 1)
    counts[partOf(field, shape)] += count
    counts.total += count
  }
  return counts
}

function partOf(field: string, shape: readonly number[]): keyof ParameterCounts {
  if (shape.length === 1) return "norms"
  if (field === "embedding") return field
  if (field === "head" || field.startsWith("head.")) return "head"
  if (field.includes(".mlp.")) return "mlp"
  return field.includes(".attention.") ? "attention" : "recurrence"
}

/**
 * Positions that a layer's cache holds: all of the context, or a ring of the window and the chunk in flight, as the first
 * query of a chunk still sees the W - 1 keys before it. Rounded up where several sequences lie behind one another.
 */
export function cacheCapacity(window: number | null, context: number, chunk: number, sequences = 1): number {
  const capacity = window === null ? context : Math.min(context, window + chunk)
  return sequences === 1 ? capacity : Math.ceil(capacity / ALIGNED) * ALIGNED
}

/** Each of several sequences has whole blocks of 256 bytes, at which bindings may begin: of so many words. */
const ALIGNED = 64

export const CACHE_DTYPES = ["f32", "q8"] as const

/** How keys and values are kept: in full, or in eight bits and a scale in f32 for each head of a position. */
export type CacheDtype = (typeof CACHE_DTYPES)[number]

/** Bytes of an element of such a cache, its share of the scale among them. */
export function cacheElementBytes({ headDim }: Pick<TransformerConfig, "headDim">, dtype: CacheDtype): number {
  return dtype === "q8" ? (headDim + 4) / headDim : 4
}

export interface CacheOptions {
  /** Tokens that go through at once. */
  readonly chunk: number
  readonly bytesPerElement: number
  /** How many sequences there are, 1 by default. */
  readonly sequences?: number
}

/** Bytes of what sequences leave behind: keys and values, or in f32 the states of a recurrence, which do not grow. */
export function cacheBytes(config: ModelConfig, context: number, options: CacheOptions): number {
  const { sequences = 1 } = options
  if (config.modelType === "hgrn_bit") return sequences * config.numLayers * config.hiddenSize * 4
  return kvCacheBytes(config, context, options)
}

/** Bytes of the key and value cache as it is allocated. */
export function kvCacheBytes(
  config: TransformerConfig,
  context: number,
  { chunk, bytesPerElement, sequences = 1 }: CacheOptions,
): number {
  return sequences * kvBytes(config, bytesPerElement, (window) => cacheCapacity(window, context, chunk, sequences))
}

/** The least that holds a context: `2 G D bytes (global layers * context + sliding layers * min(context, W))`. */
export function kvCacheBytesFormula(config: TransformerConfig, context: number, bytes: number): number {
  return kvBytes(config, bytes, (window) => Math.min(context, window ?? context))
}

/** What the same context would take if every layer were global. */
export function kvCacheBytesAllGlobal(config: TransformerConfig, context: number, bytes: number): number {
  return kvBytes(config, bytes, () => context)
}

function kvBytes(config: TransformerConfig, bytes: number, positions: (window: number | null) => number): number {
  const perPosition = Math.round(2 * config.numKvHeads * config.headDim * bytes) // whole, where a scale's share is a fraction
  return config.layers.reduce((sum, { window }) => sum + perPosition * positions(window), 0)
}

/**
 * Floating-point operations to decode one token: two per weight of every projection and of the head, and four per
 * query element and visible key for the scores and the weighted sum. Norms, recurrences, softmax and activations are left out.
 *
 * @param position of the token, from 0
 */
export function flopsPerToken(config: ModelConfig, position: number): number {
  const { attention, recurrence, mlp } = parameterCounts(config)
  const head = config.vocabSize * config.hiddenSize
  if (config.modelType === "hgrn_bit") return 2 * (recurrence + mlp + head)
  const queryWidth = config.numHeads * config.headDim
  const keys = config.layers.reduce((sum, { window }) => sum + Math.min(position + 1, window ?? position + 1), 0)
  return 2 * (attention + mlp + head) + 4 * queryWidth * keys
}
