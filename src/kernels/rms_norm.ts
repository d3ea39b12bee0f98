import type { Run } from "./run.ts"
import { rms_norm as kernel, rms_norm_backward, rms_norm_backward_weight } from "./shaders.ts"
import { expectShape, fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

export interface RmsNormOptions {
  readonly eps: number
  /** 1 where the checkpoint stores `weight - 1` (Gemma), 0 where it stores the weight itself (Llama). */
  readonly offset: number
}

/** One workgroup per row, or per 8 rows where there are many: the shaders' MANY. */
export function rowWorkgroups(T: number): [x: number, y: number] {
  return fold(T < 256 ? T : Math.ceil(T / 8))
}

/**
 * `y = x / sqrt(mean(x^2) + eps) * (offset + weight)`, row by row (Zhang & Sennrich, arXiv:1910.07467).
 *
 * @param x      `[T, C]`
 * @param weight `[C]`
 * @returns      `[T, C]`
 */
export function rmsNorm(run: Run, x: Tensor, weight: Tensor, { eps, offset }: RmsNormOptions): Tensor {
  const [T, C] = rows("rmsNorm", "x", x)
  expectShape("rmsNorm", "weight", weight, [C])
  const y = run.empty([T, C])
  run.dispatch(kernel, { x, weight, y }, { T, C4: C / 4, eps, offset }, rowWorkgroups(T))
  run.tape?.record(y, (dy) => {
    const { dx, dweight } = rmsNormBackward(run, x, weight, dy, { eps, offset })
    return [
      [x, dx],
      [weight, dweight],
    ]
  })
  return y
}

/**
 * Gradients of `rmsNorm`, with `n = x / rms(x)` and `g = dy * (offset + weight)`:
 * `dx = (g - n * mean(g * n)) / rms(x)`, row by row, and `dweight = sum_t dy[t] * n[t]`.
 *
 * @param x      `[T, C]`
 * @param weight `[C]`
 * @param dy     `[T, C]`
 * @returns      dx `[T, C]`, dweight `[C]`
 */
export function rmsNormBackward(
  run: Run,
  x: Tensor,
  weight: Tensor,
  dy: Tensor,
  { eps, offset }: RmsNormOptions,
): { dx: Tensor; dweight: Tensor } {
  const [T, C] = rows("rmsNormBackward", "x", x)
  expectShape("rmsNormBackward", "weight", weight, [C])
  expectShape("rmsNormBackward", "dy", dy, [T, C])
  const [dx, scale, dweight] = [run.empty([T, C]), run.empty([T]), run.empty([C])]
  run.dispatch(rms_norm_backward, { x, weight, dy, dx, scale }, { T, C4: C / 4, eps, offset }, rowWorkgroups(T))
  run.dispatch(rms_norm_backward_weight, { x, dy, scale, dweight }, { T, C4: C / 4 }, [Math.ceil(C / 32)])
  return { dx, dweight }
}
