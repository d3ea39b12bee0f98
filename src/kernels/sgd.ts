import { type ActiveColumns, activeParams, expectElements } from "./active_columns.ts"
import type { Run } from "./run.ts"
import { sgd, sgd_momentum } from "./shaders.ts"
import { expectShape, fold } from "./shape.ts"
import { sizeOf, type Tensor } from "./tensor.ts"

export interface SgdTensors {
  /** f32, any shape; changed in place. */
  readonly weight: Tensor
  /** f32, the weight's number of elements. */
  readonly gradient: Tensor
  /** `[rows, active]`, f32, zero at first; changed in place. Without it there is no momentum. */
  readonly velocity?: Tensor | undefined
  /** `[1]`: the learning rate. */
  readonly settings: Tensor
  /** `[2]` of `globalNorm`. */
  readonly clip: Tensor
}

export interface SgdConstants {
  readonly momentum: number
  readonly nesterov: boolean
  /** Times the weight, what is added to the gradient: 0 for none. */
  readonly decay: number
}

/**
 * One step of gradient descent on the active columns of a weight, with momentum where there is a `velocity`:
 * `g = factor * gradient + decay * weight`, `velocity = momentum * velocity + g`, and `weight -= rate * velocity`, or
 * `rate * (g + momentum * velocity)` with `nesterov`.
 */
export function sgdUpdate(run: Run, x: SgdTensors, columns: ActiveColumns, constants: SgdConstants): void {
  const active = activeParams("sgd", "weight", x.weight, columns)
  expectElements("sgd", "gradient", x.gradient, sizeOf(x.weight.shape))
  expectShape("sgd", "settings", x.settings, [1])
  expectShape("sgd", "clip", x.clip, [2])
  const { weight, gradient, velocity, settings, clip } = x
  const { momentum, nesterov, decay } = constants
  const workgroups = fold(Math.ceil(active.n / 64))
  if (!velocity) {
    run.dispatch(sgd, { weight, gradient, settings, clip }, { ...active, decay }, workgroups)
    return
  }
  expectElements("sgd", "velocity", velocity, active.n)
  const params = { ...active, momentum, nesterov: nesterov ? 1 : 0, decay }
  run.dispatch(sgd_momentum, { weight, gradient, velocity, settings, clip }, params, workgroups)
}
