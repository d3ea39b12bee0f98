import { type ActiveColumns, activeParams, expectElements } from "./active_columns.ts"
import type { Run } from "./run.ts"
import { adamw } from "./shaders.ts"
import { expectShape, fold } from "./shape.ts"
import { sizeOf, type Tensor } from "./tensor.ts"

export interface AdamwTensors {
  /** f32, any shape; changed in place. */
  readonly weight: Tensor
  /** f32, the weight's number of elements. */
  readonly gradient: Tensor
  /** `[rows, active]`, f32; changed in place. */
  readonly firstMoment: Tensor
  /** `[rows, active]`, f32; changed in place. */
  readonly secondMoment: Tensor
  /** `[3]` of `adamwSettings`. */
  readonly settings: Tensor
  /** `[2]` of `globalNorm`. */
  readonly clip: Tensor
}

export interface AdamwConstants {
  readonly betas: readonly [number, number]
  readonly eps: number
  /** What the rate is multiplied by, to give the fraction of the weight that goes: 0 for none. */
  readonly decay: number
}

/** What changes from step to step, for step t from 1 on; in float64 up to here. */
export function adamwSettings(
  t: number,
  rate: number,
  [beta1, beta2]: readonly [number, number],
): Float32Array<ArrayBuffer> {
  return Float32Array.of(rate, rate / (1 - beta1 ** t), Math.sqrt(1 - beta2 ** t))
}

/**
 * One step of AdamW (Loshchilov & Hutter, arXiv:1711.05101) on the active columns of a weight, in PyTorch's order:
 * `weight *= 1 - rate * decay`, then the moments of `g = factor * gradient`, then
 * `weight -= rate / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)`.
 */
export function adamwUpdate(
  run: Run,
  x: AdamwTensors,
  columns: ActiveColumns,
  { betas, eps, decay }: AdamwConstants,
): void {
  const active = activeParams("adamw", "weight", x.weight, columns)
  expectElements("adamw", "gradient", x.gradient, sizeOf(x.weight.shape))
  expectElements("adamw", "firstMoment", x.firstMoment, active.n)
  expectElements("adamw", "secondMoment", x.secondMoment, active.n)
  expectShape("adamw", "settings", x.settings, [3])
  expectShape("adamw", "clip", x.clip, [2])
  const { weight, gradient, firstMoment: m, secondMoment: v, settings, clip } = x
  const [one_minus_beta1, one_minus_beta2] = [1 - betas[0], 1 - betas[1]]
  const params = { ...active, one_minus_beta1, one_minus_beta2, eps, decay }
  run.dispatch(adamw, { weight, gradient, m, v, settings, clip }, params, fold(Math.ceil(active.n / 64)))
}
