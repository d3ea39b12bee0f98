import { rmsNormBackward } from "./rms_norm.ts"
import type { Run } from "./run.ts"
import { bit_norm as kernel } from "./shaders.ts"
import { expectDtype, expectShape, fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/** One workgroup per row, or per 8 rows where there are many: the shader's MANY. */
function workgroups(T: number): [x: number, y: number] {
  return fold(T < 256 ? T : Math.ceil(T / 8))
}

/**
 * What goes into a ternary matrix: `v = x / sqrt(mean(x^2) + eps) * weight`, row by row, rounded to int8 so that a row's
 * largest |v| becomes 127 (BitNet b1.58, arXiv:2402.17764). Gradients pass the rounding as if it were not there.
 *
 * @param x      `[T, C]`
 * @param weight `[C]`
 * @returns      `[T, C]`, int8
 */
export function bitNorm(run: Run, x: Tensor, weight: Tensor, { eps }: { readonly eps: number }): Tensor {
  const [T, C] = rows("bitNorm", "x", x)
  expectDtype("bitNorm", "x", x, "f32")
  expectShape("bitNorm", "weight", weight, [C])
  const y = run.empty([T, C], "int8")
  run.dispatch(kernel, { x, weight, y }, { T, C4: C / 4, each: 0, eps }, workgroups(T))
  run.tape?.record(y, (dy) => {
    const { dx, dweight } = rmsNormBackward(run, x, weight, dy, { eps, offset: 0 })
    return [
      [x, dx],
      [weight, dweight],
    ]
  })
  return y
}

/**
 * One row under several norms: what goes into each of several ternary matrices. No gradient is recorded.
 *
 * @param x       `[1, C]`
 * @param weights `[M, C]`, those of M norms
 * @returns       `[M, C]`, int8
 */
export function bitNorms(run: Run, x: Tensor, weights: Tensor, { eps }: { readonly eps: number }): Tensor {
  const [M, C] = rows("bitNorms", "weights", weights)
  expectDtype("bitNorms", "x", x, "f32")
  expectShape("bitNorms", "x", x, [1, C])
  const y = run.empty([M, C], "int8")
  run.dispatch(kernel, { x, weight: weights, y }, { T: M, C4: C / 4, each: 1, eps }, workgroups(M))
  return y
}
