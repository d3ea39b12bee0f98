import type { Device } from "./device.ts"
import type { Plan } from "./run.ts"

/** Submits a plan so many times in one pass; then gives the milliseconds that it took, once it is done. */
export type Stopwatch = (plan: Plan, times: number) => () => Promise<number>

/** Times passes by the GPU's own timestamps where the device has them, and by the clock from submission to completion where not. */
export function stopwatch(device: Device): Stopwatch {
  const stamps = device.gpu.features.has("timestamp-query") ? timestamps(device) : undefined
  return (plan, times) => {
    const encoder = device.gpu.createCommandEncoder()
    const pass = encoder.beginComputePass(stamps?.descriptor ?? {})
    for (let i = 0; i < times; i++) plan.encode(pass)
    pass.end()
    stamps?.resolve(encoder)
    const began = performance.now()
    device.gpu.queue.submit([encoder.finish()])
    return async () => {
      await device.settle()
      const clock = performance.now() - began
      const ms = (await stamps?.read()) ?? 0
      return ms > 0 ? ms : clock // some clocks stand still within a short pass, or start anew
    }
  }
}

function timestamps(device: Device) {
  const querySet = device.gpu.createQuerySet({ type: "timestamp", count: 2 })
  const bytes = 16 // two of 64 bits
  const resolved = device.buffer("scratch", bytes, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC)
  const staging = device.buffer("scratch", bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST)
  const descriptor = { timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } }
  const resolve = (encoder: GPUCommandEncoder) => {
    encoder.resolveQuerySet(querySet, 0, 2, resolved, 0)
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes)
  }
  const read = async () => {
    const [begin, end] = new BigInt64Array(await device.mapped(staging, bytes)) as unknown as [bigint, bigint]
    return Number(end - begin) / 1e6
  }
  return { descriptor, resolve, read }
}
