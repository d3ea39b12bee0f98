import type { KvCache } from "../kernels/attend.ts"
import { type Device, formatBytes } from "../kernels/device.ts"
import { rowSlice, type Tensor, view } from "../kernels/tensor.ts"
import type { ModelConfig } from "./config.ts"
import { CACHE_DTYPES, cacheCapacity, cacheElementBytes } from "./cost.ts"
import type { Kept, SequenceOptions } from "./network.ts"
import type { TransformerConfig } from "./transformer_config.ts"

/** Keys and values of every layer: `[sequences, capacity, G, D]` each, in f32 or in eight bits. */
export function createCaches(device: Device, config: TransformerConfig, options: SequenceOptions): KvCache[] {
  const { context, chunk, sequences, cacheDtype } = options
  const dtype = cacheDtype === "q8" ? "row8" : "f32"
  return config.layers.map(({ window }) => {
    const capacity = cacheCapacity(window, context, chunk, sequences)
    const shape = [sequences, capacity, config.numKvHeads, config.headDim]
    return { k: device.tensor("cache", shape, dtype), v: device.tensor("cache", shape, dtype) }
  })
}

/** The cache of one of them: `[capacity, G, D]`. */
export function cacheOf({ k, v }: KvCache, sequence: number): KvCache {
  const one = (x: Tensor) => view(rowSlice(x, sequence, sequence + 1), x.shape.slice(1))
  return { k: one(k), v: one(v) }
}

/** Those of the first n. */
export function firstCaches({ k, v }: KvCache, n: number): KvCache {
  return { k: rowSlice(k, 0, n), v: rowSlice(v, 0, n) }
}

/** What caches hold of the positions, by layer. */
export function keptOf({ layers }: TransformerConfig, caches: readonly KvCache[]): Kept[] {
  return caches.flatMap(({ k, v }, i) => [
    { name: `layers.${i}.k`, tensor: k, window: layers[i]!.window },
    { name: `layers.${i}.v`, tensor: v, window: layers[i]!.window },
  ])
}

/**
 * Refuses a context whose keys do not fit the device, before anything is uploaded.
 *
 * @throws {RangeError} with a context that fits; for several sequences of a recurrence whose states do not fill blocks
 * @throws {TypeError} for a type that caches do not have, or that states do not, as each token goes on from what it left
 */
export function expectCacheFits(device: Device, config: ModelConfig, options: SequenceOptions): void {
  const { context, chunk, sequences, cacheDtype = "f32" } = options
  if (!CACHE_DTYPES.includes(cacheDtype)) {
    throw new TypeError(`cache: dtype is ${cacheDtype}, expected ${CACHE_DTYPES.join(" or ")}`)
  }
  if (config.modelType === "hgrn_bit" && cacheDtype !== "f32") {
    throw new TypeError(`cache: dtype is ${cacheDtype}, expected f32 for the states of hgrn_bit, which has no keys`)
  }
  if (config.modelType === "hgrn_bit") {
    if (sequences === 1 || config.hiddenSize % 64 === 0) return // its state does not grow
    throw new RangeError(`cache: sequences is ${sequences}, expected 1 for a hidden size of ${config.hiddenSize}`)
  }
  const slot = sequences * config.numKvHeads * Math.round(config.headDim * cacheElementBytes(config, cacheDtype))
  const capacity = Math.max(...config.layers.map(({ window }) => cacheCapacity(window, context, chunk, sequences)))
  if (capacity * slot <= device.maxBinding) return
  throw new RangeError(
    `cache: ${capacity} positions ${sequences > 1 ? `of ${sequences} sequences ` : ""}need ` +
      `${formatBytes(capacity * slot)} per layer, the device allows ${formatBytes(device.maxBinding)} per buffer; try a ` +
      `context of ${Math.floor(device.maxBinding / slot)}${sequences > 1 ? " or fewer sequences" : ""}`,
  )
}
