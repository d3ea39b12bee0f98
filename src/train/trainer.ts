import type { Device } from "../kernels/device.ts"
import { type Plan, Run, ScratchPool } from "../kernels/run.ts"
import { sizeOf, type Tensor } from "../kernels/tensor.ts"
import {
  freeInputs,
  type Labelled,
  type LossInputs,
  lossInputs,
  pack,
  sequenceLoss,
  writeInputs,
} from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import { tensorsOf } from "../model/parameter.ts"
import type { SafetensorsEntry } from "../model/safetensors.ts"
import {
  activeElements,
  createTrained,
  freeTrained,
  freezeColumns,
  isDone,
  namedStates,
  type Trainable,
  type Trained,
} from "./trained.ts"
import { recordGradients, recordUpdate, type TrainerOptions } from "./training_step.ts"

/** What one step did. */
export interface StepResult {
  /** Mean over the targets of the step, before its update. */
  readonly loss: number
  /** Of all gradients as one vector, before clipping. */
  readonly gradientNorm: number
  /** Targets that the loss is the mean of. */
  readonly targets: number
}

/** Sequences that go through the model at once: `tokens` of the trainer at most. */
export type MicroBatch = readonly Labelled[]

/** Trains parameters of a model in place. Calls must not overlap. */
export class Trainer {
  readonly #model: Model
  readonly #device: Device
  readonly #options: TrainerOptions
  readonly #inputs: LossInputs
  readonly #dloss: Tensor
  readonly #settings: Tensor
  readonly #pool: ScratchPool
  #trained: Trained[]
  #steps = 0
  #gradients: { readonly plan: Plan; readonly loss: Tensor } | undefined
  #update: { readonly plan: Plan; readonly norm: Tensor } | undefined
  #evaluation: { readonly plan: Plan; readonly loss: Tensor } | undefined

  constructor(model: Model, trainables: readonly Trainable[], options: TrainerOptions) {
    const { device } = model
    const { optimizer, tokens } = options
    this.#model = model
    this.#device = device
    this.#options = options
    this.#pool = new ScratchPool(device)
    this.#inputs = lossInputs(device, model.network, tokens)
    this.#dloss = device.tensor("scratch", [tokens])
    this.#settings = device.tensor("training", [optimizer.settingsSize])
    this.#trained = trainables.map((trainable) => createTrained(device, trainable, optimizer))
  }

  /** Steps done. */
  get steps(): number {
    return this.#steps
  }

  /** Elements that an update changes now. */
  get trainedElements(): number {
    return this.#trained.reduce((sum, trained) => sum + activeElements(trained), 0)
  }

  /**
   * One update, by the mean loss over all targets of some micro-batches: however a batch is cut, the gradient is the same.
   *
   * @param rate the learning rate
   * @throws {RangeError} when the loss or a gradient is not finite; the parameters then are as before
   */
  async step(batch: readonly MicroBatch[], rate: number): Promise<StepResult> {
    await this.#freeze()
    const step = this.#steps + 1
    const device = this.#device
    device.clear(this.#trained.flatMap(({ gradient }) => tensorsOf(gradient)))
    this.#gradients ??= this.#planGradients()
    const { plan, loss } = this.#gradients
    const packed = batch.map((sequences) => pack(sequences, this.#options.tokens))
    const targets = packed.reduce((sum, { count }) => sum + count, 0)
    if (targets === 0) throw new RangeError(`step ${step}: batch has no target, expected at least one`)
    device.write(this.#dloss, new Float32Array(this.#options.tokens).fill(1 / targets))
    let sum = 0
    for (const [i, each] of packed.entries()) {
      writeInputs(device, this.#inputs, each)
      this.#options.objective?.prepare?.(batch[i]!)
      plan.submit()
      sum += total(await device.read(loss))
    }
    const mean = sum / targets
    if (!Number.isFinite(mean)) {
      throw new RangeError(`step ${step}: loss is ${mean}, expected a finite number (try a lower learning rate)`)
    }
    const gradientNorm = await this.#apply(step, rate)
    this.#steps = step
    return { loss: mean, gradientNorm, targets }
  }

  /** The mean cross-entropy of some micro-batches: whatever is trained by, so that runs of different objectives compare. */
  async evaluate(batch: readonly MicroBatch[]): Promise<{ loss: number; targets: number }> {
    const device = this.#device
    this.#evaluation ??= this.#planEvaluation()
    const { plan, loss } = this.#evaluation
    let [sum, targets] = [0, 0]
    for (const sequences of batch) {
      const packed = pack(sequences, this.#options.tokens)
      writeInputs(device, this.#inputs, packed)
      plan.submit()
      sum += total(await device.read(loss))
      targets += packed.count
    }
    return { loss: sum / targets, targets }
  }

  /** The optimizer's state as it is now, to be read while it is written. */
  stateEntries(): SafetensorsEntry[] {
    const device = this.#device
    return this.#states().map(({ name, tensors, n }) => {
      const bytes = async function* () {
        for (const tensor of tensors) yield new Uint8Array(await device.read(tensor))
      }
      return { name, dtype: "F32", shape: [n], bytes }
    })
  }

  /**
   * Goes on after so many steps from the state of a trainer with the same parameters.
   *
   * @param read gives the values of an entry
   * @throws {RangeError} for a state of another size
   */
  async restore(steps: number, read: (name: string) => Promise<Float32Array>): Promise<void> {
    this.#steps = Math.max(0, steps - 1) // a step begins by freezing, so the state is of what moved in the last one
    await this.#freeze()
    this.#steps = steps
    for (const { name, tensors, n } of this.#states()) {
      const values = await read(name)
      if (values.length !== n) throw new RangeError(`${name}: has ${values.length} values, expected ${n}`)
      let at = 0
      for (const tensor of tensors) {
        const size = sizeOf(tensor.shape)
        this.#device.write(tensor, Float32Array.from(values.subarray(at, at + size)))
        at += size
      }
    }
  }

  /** Gives back all but the parameters. */
  dispose(): void {
    this.#disposePlans()
    for (const trained of this.#trained) freeTrained(this.#device, trained)
    freeInputs(this.#device, this.#inputs)
    for (const { storage } of [this.#dloss, this.#settings]) this.#device.free(storage.buffer!)
  }

  #states() {
    return this.#trained.flatMap((trained) => namedStates(trained, this.#options.optimizer))
  }

  #disposePlans(): void {
    for (const each of [this.#gradients, this.#update, this.#evaluation]) each?.plan.dispose()
    this.#gradients = this.#update = this.#evaluation = undefined
    this.#pool.dispose()
  }

  #planGradients() {
    const { run, loss } = recordGradients(this.#model, this.#inputs, this.#dloss, this.#trained, this.#options)
    return { plan: run.plan(this.#pool), loss }
  }

  #planEvaluation() {
    const run = new Run(this.#device)
    const loss = run.keep(sequenceLoss(run, this.#model.network, this.#inputs))
    return { plan: run.plan(this.#pool), loss }
  }

  #planUpdate() {
    const { run, norm } = recordUpdate(this.#model, this.#settings, this.#trained, this.#options)
    return { plan: run.plan(this.#pool), norm }
  }

  /** Updates the parameters, unless the gradients are not finite; gives their norm. */
  async #apply(step: number, rate: number): Promise<number> {
    this.#update ??= this.#planUpdate()
    const { plan, norm } = this.#update
    this.#device.write(this.#settings, this.#options.optimizer.settings(step, rate))
    plan.submit()
    const [value] = new Float32Array(await this.#device.read(norm))
    if (Number.isFinite(value)) return value!
    throw new RangeError(
      `step ${step}: norm of the gradients is not finite, expected a number (try a lower learning rate)`,
    )
  }

  /** Lets go of what no longer moves, and of the plans that know of it. */
  async #freeze(): Promise<void> {
    let changed = false
    for (const trained of this.#trained) {
      const frozen = trained.trainable.frozenColumns?.(this.#steps) ?? 0
      if (frozen === trained.frozen) continue
      await freezeColumns(this.#device, trained, frozen, this.#options.optimizer)
      changed = true
    }
    if (!changed) return
    const left = this.#trained.filter((trained) => !isDone(trained))
    if (left.length < this.#trained.length) {
      this.#trained = left
      this.#disposePlans()
    }
    this.#update?.plan.dispose()
    this.#update = undefined
  }
}

function total(losses: ArrayBuffer): number {
  return new Float32Array(losses).reduce((sum, value) => sum + value, 0)
}
