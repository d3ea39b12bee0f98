import type { ModelConfig } from "./config.ts"
import { weightTable } from "./weights.ts"

/** Parameters by part of the model. A tied head has none of its own. */
export interface ParameterCounts {
  embedding: number
  attention: number
  mlp: number
  norms: number
  head: number
  total: number
}

export function parameterCounts(config: ModelConfig): ParameterCounts {
  const counts = { embedding: 0, attention: 0, mlp: 0, norms: 0, head: 0, total: 0 }
  for (const { field, shape } of weightTable(config)) {
    const count = shape.reduce((product, extent) => product * extent, 1)
    counts[partOf(field, shape)] += count
    counts.total += count
  }
  return counts
}

function partOf(field: string, shape: readonly number[]): keyof ParameterCounts {
  if (shape.length === 1) return "norms"
  if (field === "embedding" || field === "head") return field
  return field.includes(".mlp.") ? "mlp" : "attention"
}

/**
 * Positions that a layer's cache holds: all of the context, or a ring of the window and the chunk in flight, as the first
 * query of a chunk still sees the W - 1 keys before it.
 */
export function cacheCapacity(window: number | null, context: number, chunk: number): number {
  return window === null ? context : Math.min(context, window + chunk)
}

/** Bytes of the key and value cache as it is allocated. */
export function kvCacheBytes(
  config: ModelConfig,
  context: number,
  { chunk, bytesPerElement }: { chunk: number; bytesPerElement: number },
): number {
  return kvBytes(config, bytesPerElement, (window) => cacheCapacity(window, context, chunk))
}

/** The least that holds a context: `2 G D bytes (global layers * context + sliding layers * min(context, W))`. */
export function kvCacheBytesFormula(config: ModelConfig, context: number, bytes: number): number {
  return kvBytes(config, bytes, (window) => Math.min(context, window ?? context))
}

/** What the same context would take if every layer were global. */
export function kvCacheBytesAllGlobal(config: ModelConfig, context: number, bytes: number): number {
  return kvBytes(config, bytes, () => context)
}

function kvBytes(config: ModelConfig, bytes: number, positions: (window: number | null) => number): number {
  const perPosition = 2 * config.numKvHeads * config.headDim * bytes
  return config.layers.reduce((sum, { window }) => sum + perPosition * positions(window), 0)
}

/**
 * Floating-point operations to decode one token: two per weight of every projection and of the head, and four per
 * query element and visible key for the scores and the weighted sum. Norms, softmax and activations are left out.
 *
 * @param position of the token, from 0
 */
export function flopsPerToken(config: ModelConfig, position: number): number {
  const { attention, mlp } = parameterCounts(config)
  const head = config.vocabSize * config.hiddenSize
  const queryWidth = config.numHeads * config.headDim
  const keys = config.layers.reduce((sum, { window }) => sum + Math.min(position + 1, window ?? position + 1), 0)
  return 2 * (attention + mlp + head) + 4 * queryWidth * keys
}
