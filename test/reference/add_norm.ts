import { add } from "./add.ts"
import { rmsNorm } from "./rms_norm.ts"

/** `h = x + rmsNorm(a, post)`, or `x + a`, and `u = rmsNorm(h, next)`; x, a, h and u `[T, C]`. */
export function addNorm(
  x: ArrayLike<number>,
  a: ArrayLike<number>,
  { post, next }: { post: ArrayLike<number> | undefined; next: ArrayLike<number> },
  options: { eps: number; offset: number },
): { h: Float64Array; u: Float64Array } {
  const h = add(x, post ? rmsNorm(a, post, options) : a)
  return { h, u: rmsNorm(h, next, options) }
}
