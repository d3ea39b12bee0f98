import type { Run } from "./run.ts"
import { accumulate as kernel } from "./shaders.ts"
import { expectShape, fold } from "./shape.ts"
import { sizeOf, type Tensor, view } from "./tensor.ts"

/**
 * `sum += x` in place, element by element.
 *
 * @param sum any shape
 * @param x   as many elements
 */
export function accumulate(run: Run, sum: Tensor, x: Tensor): void {
  const n = sizeOf(sum.shape)
  expectShape("accumulate", "x", view(x, [sizeOf(x.shape)]), [n])
  run.dispatch(kernel, { sum, x }, { n }, fold(Math.ceil(n / 64)))
}
