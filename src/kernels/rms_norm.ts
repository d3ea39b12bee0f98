import type { Run } from "./run.ts"
import { rms_norm as kernel } from "./shaders.ts"
import { expectShape, fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

export interface RmsNormOptions {
  readonly eps: number
  /** 1 where the checkpoint stores `weight - 1` (Gemma), 0 where it stores the weight itself (Llama). */
  readonly offset: number
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
  run.dispatch(kernel, { x, weight, y }, { T, C4: C / 4, eps, offset }, fold(T))
  return y
}
