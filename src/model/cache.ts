import type { KvCache } from "../kernels/attend.ts"
import { type Device, formatBytes } from "../kernels/device.ts"
import type { ModelConfig } from "./config.ts"
import { cacheCapacity } from "./cost.ts"
import type { TransformerConfig } from "./transformer_config.ts"

/** Keys and values of every layer, in f32: `[capacity, G, D]` each. */
export function createCaches(device: Device, config: TransformerConfig, context: number, chunk: number): KvCache[] {
  return config.layers.map(({ window }) => {
    const shape = [cacheCapacity(window, context, chunk), config.numKvHeads, config.headDim]
    return { k: device.tensor("cache", shape), v: device.tensor("cache", shape) }
  })
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
