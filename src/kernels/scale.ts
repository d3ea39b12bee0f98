import type { Run } from "./run.ts"
import { scale as kernel } from "./shaders.ts"
import { fold } from "./shape.ts"
import { sizeOf, type Tensor } from "./tensor.ts"

/**
 * `y = factor * x`, element by element.
 *
 * @param x any shape
 * @returns the same shape
 */
export function scale(run: Run, x: Tensor, factor: number): Tensor {
  const y = run.empty(x.shape)
  const n = sizeOf(x.shape)
  run.dispatch(kernel, { x, y }, { n, factor }, fold(Math.ceil(n / 64)))
  run.tape?.record(y, (dy) => [[x, scale(run, dy, factor)]])
  return y
}
