import type { ActiveColumns } from "../../src/kernels/active_columns.ts"
import type { Device } from "../../src/kernels/device.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"

/** Records once what changes tensors in place; each call of the result runs it. */
export function recorded(device: Device, build: (run: Run) => void): () => void {
  const run = new Run(device)
  build(run)
  const plan = run.plan(new ScratchPool(device))
  return () => plan.submit()
}

/** The numbers of an f32 tensor as they are now. */
export async function read(device: Device, x: Tensor): Promise<Float32Array<ArrayBuffer>> {
  return new Float32Array(await device.read(x))
}

/** The bits of tensors as they are now: to tell whether anything at all has changed. */
export async function bits(device: Device, ...all: readonly Tensor[]): Promise<Uint32Array[]> {
  return Promise.all(all.map(async (x) => new Uint32Array(await device.read(x))))
}

/** The elements of the active columns, or with `others` those of the rest. */
export function pick(
  x: Float32Array<ArrayBuffer>,
  { columns, first, active }: ActiveColumns,
  { others = false }: { others?: boolean } = {},
): Float32Array<ArrayBuffer> {
  return x.filter((_, i) => (i % columns >= first && i % columns < first + active) !== others)
}
