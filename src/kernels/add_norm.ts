import { add } from "./add.ts"
import { type RmsNormOptions, rmsNorm, rowWorkgroups } from "./rms_norm.ts"
import type { Run } from "./run.ts"
import { add_norm as kernel } from "./shaders.ts"
import { expectShape, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

export interface AddNormWeights {
  /** `[C]`, of the norm of what is added; without it that is added as it is. */
  readonly post?: Tensor | undefined
  /** `[C]`, of the norm of the sum. */
  readonly next: Tensor
}

/**
 * What leaves one half of a layer and enters the next: `h = x + rmsNorm(a, post)`, or `x + a`, and `u = rmsNorm(h, next)`. One
 * dispatch; on a tape those of `rmsNorm` and `add`.
 *
 * @param x `[T, C]`
 * @param a `[T, C]`
 * @returns h and u `[T, C]`
 */
export function addNorm(
  run: Run,
  x: Tensor,
  a: Tensor,
  { post, next }: AddNormWeights,
  options: RmsNormOptions,
): { h: Tensor; u: Tensor } {
  const [T, C] = rows("addNorm", "x", x)
  expectShape("addNorm", "a", a, [T, C])
  if (post) expectShape("addNorm", "post", post, [C])
  expectShape("addNorm", "next", next, [C])
  if (run.tape) {
    const sum = add(run, x, post ? rmsNorm(run, a, post, options) : a)
    return { h: sum, u: rmsNorm(run, sum, next, options) }
  }
  const [h, u] = [run.empty([T, C]), run.empty([T, C])]
  const buffers = { x, a, post: post ?? next, next, h, u }
  run.dispatch(kernel, buffers, { T, C4: C / 4, ...options }, rowWorkgroups(T), { POST: post ? 1 : 0 })
  return { h, u }
}
