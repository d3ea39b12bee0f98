import type { KvCache } from "../kernels/attend.ts"
import { type Device, formatBytes } from "../kernels/device.ts"
import type { ModelConfig } from "./config.ts"
import { cacheCapacity } from "./cost.ts"
import type { Kept } from "./network.ts"
import type { TransformerConfig } from "./transformer_config.ts"

/** Keys and values of every layer, in f32: `[capacity, G, D]` each. */
export function createCaches(device: Device, config: TransformerConfig, context: number, chunk: number): KvCache[] {
  return config.layers.map(({ window }) => {
    const shape = [cacheCapacity(window, context, chunk), config.numKvHeads, config.headDim]
    return { k: device.tensor("cache", shape), v: device.tensor("cache", shape) }
  })
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
 * @throws {RangeError} with a context that fits
 */
export function expectCacheFits(device: Device, config: ModelConfig, context: number, chunk: number): void {
  if (config.modelType === "hgrn_bit") return // its state does not grow
  const slot = config.numKvHeads * config.headDim * 4
  const capacity = Math.max(...config.layers.map(({ window }) => cacheCapacity(window, context, chunk)))
  if (capacity * slot <= device.maxBinding) return
  throw new RangeError(
    `cache: ${capacity} positions need ${formatBytes(capacity * slot)} per layer, the device allows ` +
      `${formatBytes(device.maxBinding)} per buffer; try a context of ${Math.floor(device.maxBinding / slot)}`,
  )
}
