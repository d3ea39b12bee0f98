import type { Device } from "../../src/kernels/device.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { Tape, type Variable } from "../../src/kernels/tape.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "./compare.ts"
import { uniform } from "./kernels.ts"

type Numbers = ArrayLike<number>

/** Runs ops on a tape and reads back the gradients of `sum(y * dy)`. */
export async function gradients(
  device: Device,
  build: (run: Run) => Tensor,
  dy: Tensor,
  wrt: readonly Variable[],
): Promise<Float32Array<ArrayBuffer>[]> {
  const tape = new Tape()
  const run = new Run(device, tape)
  const all = tape.gradients(run, build(run), dy, wrt)
  return readAll(
    device,
    run,
    all.filter((gradient) => gradient !== undefined),
  )
}

/** Runs what is recorded and reads results back, the parts of a matrix as one array. */
export async function readAll(
  device: Device,
  run: Run,
  wanted: readonly Variable[],
): Promise<Float32Array<ArrayBuffer>[]> {
  const pool = new ScratchPool(device)
  const tensors = wanted.map((x) => ("parts" in x ? x.parts.map((part) => part.tensor) : [x]))
  for (const x of tensors.flat()) run.keep(x)
  const plan = run.plan(pool)
  plan.submit()
  const data: Float32Array<ArrayBuffer>[] = []
  for (const parts of tensors) {
    const bytes = await Promise.all(parts.map((x) => device.read(x)))
    data.push(new Float32Array(await new Blob(bytes).arrayBuffer()))
  }
  plan.dispose()
  pool.dispose()
  return data
}

/**
 * Holds a gradient to the slope of `sum(f(x) * dy)` in float64 along random directions. Each touches every element, so
 * that a gradient wrong in one is unlikely to pass. The tolerance is in units of the gradient's norm.
 */
export function expectSlope(
  gradient: Numbers,
  { f, x, dy }: { f: (x: Float64Array) => Numbers; x: Numbers; dy: Numbers },
  tolerance: number,
  { what }: { what: string },
): void {
  const step = 1e-5
  const norm = Math.sqrt(dot(gradient, gradient))
  for (const seed of [101, 102, 103]) {
    const direction = uniform(x.length, seed)
    const at = (h: number) => dot(f(Float64Array.from(x, (value, i) => value + h * direction[i]!)), dy)
    const slope = (at(step) - at(-step)) / (2 * step)
    expectClose([dot(gradient, direction)], [slope], { absolute: tolerance * norm }, { what: `${what}, slope` })
  }
}

function dot(a: Numbers, b: Numbers): number {
  if (a.length !== b.length) throw new RangeError(`dot: b has ${b.length} elements, expected ${a.length}`)
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}
