import type { KvCache } from "../kernels/attend.ts"
import type { Device } from "../kernels/device.ts"
import type { ModelConfig } from "./config.ts"
import { cacheCapacity } from "./cost.ts"

/** Keys and values of every layer, in f32: `[capacity, G, D]` each. */
export function createCaches(device: Device, config: ModelConfig, context: number, chunk: number): KvCache[] {
  return config.layers.map(({ window }) => {
    const shape = [cacheCapacity(window, context, chunk), config.numKvHeads, config.headDim]
    return { k: device.tensor("cache", shape), v: device.tensor("cache", shape) }
  })
}
