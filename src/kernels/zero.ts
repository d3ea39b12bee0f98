import type { Run } from "./run.ts"
import { zero as kernel } from "./shaders.ts"
import { fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/**
 * Sets x to 0 in place: for tensors of which a later dispatch writes only a part.
 *
 * @param x `[T, C]`
 */
export function zero(run: Run, x: Tensor): void {
  const [T, C] = rows("zero", "x", x)
  const n4 = (T * C) / 4
  run.dispatch(kernel, { y: x }, { n4 }, fold(Math.ceil(n4 / 64)))
}
