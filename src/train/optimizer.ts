import type { ActiveColumns } from "../kernels/active_columns.ts"
import { adamwSettings, adamwUpdate } from "../kernels/adamw.ts"
import type { Run } from "../kernels/run.ts"
import { sgdUpdate } from "../kernels/sgd.ts"
import type { Tensor } from "../kernels/tensor.ts"

/** One weight, or a part of one, with all that its update reads and writes. */
export interface Update extends ActiveColumns {
  /** f32, any shape of whole rows of `columns`; changed in place. */
  readonly weight: Tensor
  /** f32, the weight's number of elements; left as it is. */
  readonly gradient: Tensor
  /** One per name in `Optimizer.state`, each `[rows, active]`, f32, zero before the first step; changed in place. */
  readonly state: readonly Tensor[]
  /** `[settingsSize]`, f32: what the host wrote before the step. */
  readonly settings: Tensor
  /** `[2]` of `globalNorm`: a factor below 0 makes the update do nothing. */
  readonly clip: Tensor
  /** Whether weight decay applies to this weight. */
  readonly decay: boolean
}

/**
 * How weights follow their gradients. An update is recorded once and replayed every step: what changes meanwhile lies in
 * the `settings` tensor.
 */
export interface Optimizer {
  readonly name: string
  /** Names of the f32 numbers kept per active element. */
  readonly state: readonly string[]
  readonly settingsSize: number
  /** What the host writes into `settings` before a step, counted from 1. */
  settings(step: number, rate: number): Float32Array<ArrayBuffer>
  /** Records the update of one weight. */
  update(run: Run, update: Update): void
}

export interface AdamwOptions {
  /** How slowly the means of gradients and of their squares move. Default 0.9 and 0.999. */
  readonly betas?: readonly [number, number] | undefined
  /** Added to the root of the second moment. Default 1e-8. */
  readonly eps?: number | undefined
  /** Default 0.01. */
  readonly weightDecay?: number | undefined
}

/** AdamW (Loshchilov & Hutter, arXiv:1711.05101): weight decay is apart from the gradient. */
export function adamw({ betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 }: AdamwOptions = {}): Optimizer {
  expectFraction("adamw: betas[0]", betas[0])
  expectFraction("adamw: betas[1]", betas[1])
  if (!(eps >= 1e-30 && eps <= 1)) throw new RangeError(`adamw: eps is ${eps}, expected a number from 1e-30 to 1`)
  expectDecay("adamw", weightDecay)
  const names = ["first_moment", "second_moment"]
  return {
    name: "adamw",
    state: names,
    settingsSize: 3,
    settings(step, rate) {
      expectStep("adamw", step, rate)
      return adamwSettings(step, rate, betas)
    },
    update(run, { state, decay, columns, first, active, ...tensors }) {
      const [firstMoment, secondMoment] = expectState("adamw", names, state)
      const constants = { betas, eps, decay: decay ? weightDecay : 0 }
      const x = { ...tensors, firstMoment: firstMoment!, secondMoment: secondMoment! }
      adamwUpdate(run, x, { columns, first, active }, constants)
    },
  }
}

export interface SgdOptions {
  /** What is left of the velocity after a step. Default 0: no velocity is kept. */
  readonly momentum?: number | undefined
  /** Whether the step looks ahead along the velocity. Default false. */
  readonly nesterov?: boolean | undefined
  /** Default 0. */
  readonly weightDecay?: number | undefined
}

/** Gradient descent as in PyTorch: weight decay is a part of the gradient. */
export function sgd({ momentum = 0, nesterov = false, weightDecay = 0 }: SgdOptions = {}): Optimizer {
  expectFraction("sgd: momentum", momentum)
  if (nesterov && momentum === 0) throw new RangeError("sgd: momentum is 0, expected more with nesterov")
  expectDecay("sgd", weightDecay)
  const names = momentum > 0 ? ["velocity"] : []
  return {
    name: "sgd",
    state: names,
    settingsSize: 1,
    settings(step, rate) {
      expectStep("sgd", step, rate)
      return Float32Array.of(rate)
    },
    update(run, { state, decay, columns, first, active, ...tensors }) {
      const [velocity] = expectState("sgd", names, state)
      const constants = { momentum, nesterov, decay: decay ? weightDecay : 0 }
      sgdUpdate(run, { ...tensors, velocity }, { columns, first, active }, constants)
    },
  }
}

function expectFraction(what: string, value: number): void {
  if (!(value >= 0 && value < 1)) throw new RangeError(`${what} is ${value}, expected a number from 0 to below 1`)
}

function expectDecay(op: string, weightDecay: number): void {
  if (!(weightDecay >= 0 && weightDecay < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`${op}: weightDecay is ${weightDecay}, expected a number from 0 up`)
  }
}

function expectStep(op: string, step: number, rate: number): void {
  if (!(Number.isSafeInteger(step) && step > 0)) {
    throw new RangeError(`${op}: step is ${step}, expected an integer from 1 up`)
  }
  if (!(rate >= 0 && rate < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`${op}: learning rate is ${rate}, expected a number from 0 up`)
  }
}

function expectState(op: string, names: readonly string[], state: readonly Tensor[]): readonly Tensor[] {
  if (state.length !== names.length) {
    throw new RangeError(`${op}: state is ${state.length} tensors, expected ${names.length} (${names.join(", ")})`)
  }
  return state
}
