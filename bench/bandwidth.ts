import type { Device } from "../src/kernels/device.ts"

/** Bytes per second that the adapter moves when it copies a buffer: those read and those written. Median of five. */
export async function copyBandwidth(device: Device): Promise<number> {
  const size = Math.min(64 * 2 ** 20, device.maxBinding)
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
  const [a, b] = [device.buffer("scratch", size, usage), device.buffer("scratch", size, usage)]
  const copies = 8
  const rates: number[] = []
  for (let i = 0; i < 6; i++) {
    const began = performance.now()
    const encoder = device.gpu.createCommandEncoder()
    for (let j = 0; j < copies; j++) encoder.copyBufferToBuffer(j % 2 ? b : a, 0, j % 2 ? a : b, 0, size)
    device.gpu.queue.submit([encoder.finish()])
    await device.settle()
    if (i > 0) rates.push((2 * copies * size * 1000) / (performance.now() - began)) // the first warms up
  }
  device.free(a)
  device.free(b)
  return rates.sort((x, y) => x - y)[2]!
}
