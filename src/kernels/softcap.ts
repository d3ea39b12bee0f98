import type { Run } from "./run.ts"
import { softcap as kernel } from "./shaders.ts"
import { fold } from "./shape.ts"
import { sizeOf, type Tensor } from "./tensor.ts"

/**
 * `y = cap * tanh(x / cap)`, element by element (Gemma 2, arXiv:2408.00118, section 2).
 *
 * @param x any shape
 * @returns the same shape
 */
export function softcap(run: Run, x: Tensor, cap: number): Tensor {
  const y = run.empty(x.shape)
  const n = sizeOf(x.shape)
  run.dispatch(kernel, { x, y }, { n, cap }, fold(Math.ceil(n / 64)))
  return y
}
