import type { Device, MemoryKind } from "./device.ts"
import { GpuError } from "./errors.ts"
import { byteSize, format, type Tensor } from "./tensor.ts"

/**
 * Copies tensors on the GPU, after all work that was submitted before.
 *
 * @param pairs of the same shape and dtype
 * @throws {RangeError} for another shape or dtype
 */
export function copyTensors(device: Device, pairs: readonly (readonly [from: Tensor, to: Tensor])[]): void {
  for (const [from, to] of pairs) {
    const [is, expected] = [to, from].map(({ dtype, shape }) => `${dtype} ${format(shape)}`)
    if (is !== expected) throw new RangeError(`copyTensors: target is ${is}, expected ${expected}`)
  }
  // Within a buffer there is no copying: such a pair goes by way of another.
  const within = pairs
    .filter(([from, to]) => from.storage === to.storage)
    .map(([{ shape, dtype }]) => byteSize(shape, dtype))
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
  const between = within.length > 0 ? device.buffer("scratch", Math.max(...within), usage) : undefined
  const encoder = device.gpu.createCommandEncoder()
  for (const [from, to] of pairs) {
    const [source, target, size] = [from.storage.buffer!, to.storage.buffer!, byteSize(from.shape, from.dtype)]
    if (source === target) {
      encoder.copyBufferToBuffer(source, from.byteOffset, between!, 0, size)
      encoder.copyBufferToBuffer(between!, 0, target, to.byteOffset, size)
    } else encoder.copyBufferToBuffer(source, from.byteOffset, target, to.byteOffset, size)
  }
  device.gpu.queue.submit([encoder.finish()])
  if (between) device.free(between)
}

/** Copies that are being made. */
export interface Copies {
  readonly tensors: readonly Tensor[]
  /** False where the device has no memory for them. That is known late, and then they hold nothing and are freed. */
  readonly made: Promise<boolean>
}

/** Copies of tensors that one can do without: where they do not fit, the device goes on as before. */
export function copiesOf(device: Device, kind: MemoryKind, tensors: readonly Tensor[]): Copies {
  const copies: Tensor[] = []
  let failed = false
  device.gpu.pushErrorScope("validation") // a buffer without memory must not be used, and is
  device.gpu.pushErrorScope("out-of-memory")
  try {
    for (const { shape, dtype } of tensors) copies.push(device.tensor(kind, shape, dtype))
    copyTensors(
      device,
      tensors.map((x, i) => [x, copies[i]!]),
    )
  } catch (error) {
    if (!(error instanceof GpuError && error.kind === "out-of-memory")) throw error
    failed = true
  }
  const scopes = [device.gpu.popErrorScope(), device.gpu.popErrorScope()]
  const made = Promise.all(scopes).then((errors) => {
    if (!failed && errors.every((error) => error === null)) return true
    for (const { storage } of copies) device.free(storage.buffer!)
    return false
  })
  return { tensors: copies, made }
}
