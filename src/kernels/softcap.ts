import type { Run } from "./run.ts"
import { softcap as kernel, softcap_backward } from "./shaders.ts"
import { expectShape, fold } from "./shape.ts"
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
  run.tape?.record(y, (dy) => [[x, softcapBackward(run, y, dy, cap)]])
  return y
}

/**
 * Gradient of `softcap` by its result: `dx = dy * (1 - (y / cap)^2)`.
 *
 * @param y  any shape
 * @param dy the same shape
 * @returns  the same shape
 */
export function softcapBackward(run: Run, y: Tensor, dy: Tensor, cap: number): Tensor {
  expectShape("softcapBackward", "dy", dy, y.shape)
  const dx = run.empty(y.shape)
  const n = sizeOf(y.shape)
  run.dispatch(softcap_backward, { y, dy, dx }, { n, cap }, fold(Math.ceil(n / 64)))
  return dx
}
