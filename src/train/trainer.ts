import { accumulate } from "../kernels/accumulate.ts"
import type { ActiveColumns } from "../kernels/active_columns.ts"
import type { Device } from "../kernels/device.ts"
import { globalNorm } from "../kernels/global_norm.ts"
import { productDecay } from "../kernels/product_decay.ts"
import { type Plan, Run, ScratchPool } from "../kernels/run.ts"
import { scale } from "../kernels/scale.ts"
import { Tape, type Variable } from "../kernels/tape.ts"
import { type Matrix, sizeOf, type Tensor, unbacked } from "../kernels/tensor.ts"
import {
  freeInputs,
  inputBytes,
  type Labelled,
  type LossInputs,
  lossInputs,
  type Objective,
  pack,
  sequenceLoss,
  writeInputs,
} from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import { differentiated, freeVariable, type Parameter, tensorsOf } from "../model/parameter.ts"
import type { SafetensorsEntry } from "../model/safetensors.ts"
import type { Optimizer } from "./optimizer.ts"

/** A parameter that is trained. */
export interface Trainable {
  readonly name: string
  readonly parameter: Parameter
  /** Whether weight decay applies to it. */
  readonly decay: boolean
  /** Of the factors `u` and `v` of a low-rank layer: whose, and which. */
  readonly factor?: { readonly of: string; readonly side: "u" | "v" } | undefined
  /** How many leading columns no longer move once so many steps are done; all of them, and it is done for good. */
  readonly frozenColumns?: ((steps: number) => number) | undefined
}

export interface TrainerOptions {
  readonly optimizer: Optimizer
  /** Tokens that go through the model at once. */
  readonly tokens: number
  /** The gradients' global norm is scaled down to it; unlimited without. */
  readonly maxNorm?: number | undefined
  /** Of the products of low-rank layers' factors, as a part of the loss (arXiv:2105.01029); none without. */
  readonly productDecay?: number | undefined
  /** Compute again what each layer needs for its gradients instead of keeping it. */
  readonly recompute?: boolean | undefined
  /** What steps lower; cross-entropy by default. */
  readonly objective?: Objective | undefined
}

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

interface Trained {
  readonly trainable: Trainable
  readonly gradient: Variable
  /** By part of the variable, then by name of the optimizer's state. */
  state: Tensor[][]
  frozen: number
}

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
    this.#model = model
    this.#device = device
    this.#options = options
    this.#pool = new ScratchPool(device)
    this.#inputs = lossInputs(device, model.network, options.tokens)
    this.#dloss = device.tensor("scratch", [options.tokens])
    this.#settings = device.tensor("training", [options.optimizer.settingsSize])
    this.#trained = trainables.map((trainable) => {
      const gradient = unbackedLike(trainable.parameter.variable)
      device.allocate("training", tensorsOf(gradient))
      const trained: Trained = { trainable, gradient, state: [], frozen: 0 }
      trained.state = newState(device, trained, options.optimizer)
      return trained
    })
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
    return this.#trained.flatMap((trained) => {
      return this.#states(trained).map(({ name, tensors, n }) => ({
        name,
        dtype: "F32" as const,
        shape: [n],
        bytes: async function* (device: Device) {
          for (const tensor of tensors) yield new Uint8Array(await device.read(tensor))
        }.bind(undefined, this.#device),
      }))
    })
  }

  /**
   * Goes on after so many steps from the state of a trainer with the same parameters.
   *
   * @param read gives the values of an entry
   */
  async restore(steps: number, read: (name: string) => Promise<Float32Array>): Promise<void> {
    this.#steps = steps
    await this.#freeze()
    for (const { name, tensors, n } of this.#trained.flatMap((trained) => this.#states(trained))) {
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

  /** A parameter's state by name: the tensors of all its parts, and how many values they have. */
  #states({ trainable, state }: Trained) {
    return this.#options.optimizer.state.map((each, k) => {
      const tensors = state.map((part) => part[k]!)
      return {
        name: `${trainable.name}.${each}`,
        tensors,
        n: tensors.reduce((sum, tensor) => sum + sizeOf(tensor.shape), 0),
      }
    })
  }

  /** Gives back all but the parameters. */
  dispose(): void {
    this.#disposePlans()
    for (const trained of this.#trained) this.#free(trained)
    freeInputs(this.#device, this.#inputs)
    for (const { storage } of [this.#dloss, this.#settings]) this.#device.free(storage.buffer!)
  }

  #disposePlans(): void {
    for (const each of [this.#gradients, this.#update, this.#evaluation]) each?.plan.dispose()
    this.#gradients = this.#update = this.#evaluation = undefined
    this.#pool.dispose()
  }

  #free({ gradient, state }: Trained): void {
    freeVariable(this.#device, gradient)
    for (const tensor of state.flat()) this.#device.free(tensor.storage.buffer!)
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
    const { optimizer, maxNorm, productDecay } = this.#options
    const run = new Run(this.#device)
    if (productDecay) decayProducts(run, this.#trained, productDecay)
    const parts = this.#trained.flatMap(partsOf)
    const norm = run.keep(globalNorm(run, parts, { maxNorm }))
    for (const part of parts) optimizer.update(run, { ...part, settings: this.#settings, clip: norm })
    this.#model.network.derive(run)
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

  /** Lets go of what no longer moves: the state of frozen columns, and all of a parameter when its last one is. */
  async #freeze(): Promise<void> {
    let changed = false
    const device = this.#device
    for (const trained of this.#trained) {
      const { frozenColumns, parameter } = trained.trainable
      const frozen = frozenColumns?.(this.#steps) ?? 0
      if (frozen === trained.frozen) continue
      const before = { active: parameter.shape.at(-1)! - trained.frozen, dropped: frozen - trained.frozen }
      const old = trained.state
      trained.frozen = frozen
      if (frozen < parameter.shape.at(-1)!) {
        trained.state = newState(device, trained, this.#options.optimizer)
        for (const [p, part] of old.entries()) {
          for (const [k, tensor] of part.entries()) {
            const values = new Float32Array(await device.read(tensor))
            device.write(trained.state[p]![k]!, dropColumns(values, before))
          }
        }
      } else {
        trained.state = []
        freeVariable(device, trained.gradient)
      }
      for (const tensor of old.flat()) device.free(tensor.storage.buffer!)
      changed = true
    }
    if (!changed) return
    const left = this.#trained.filter(({ trainable, frozen }) => frozen < trainable.parameter.shape.at(-1)!)
    if (left.length < this.#trained.length) {
      this.#trained = left
      this.#disposePlans()
    }
    this.#update?.plan.dispose()
    this.#update = undefined
  }
}

/** Adds the gradients of `decay / 2 * ||u v||^2` to those of each low-rank layer's factors. */
function decayProducts(run: Run, trained: readonly Trained[], decay: number): void {
  const find = (of: string, side: "u" | "v") => {
    return trained.find(({ trainable: { factor } }) => factor?.of === of && factor.side === side)
  }
  for (const u of trained) {
    const { factor, parameter } = u.trainable
    const v = factor?.side === "u" ? find(factor.of, "v") : undefined
    if (!v) continue
    const { du, dv } = productDecay(run, parameter.variable as Matrix, v.trainable.parameter.variable as Matrix)
    accumulate(run, tensorsOf(u.gradient)[0]!, scale(run, du, decay))
    accumulate(run, tensorsOf(v.gradient)[0]!, scale(run, dv, decay))
  }
}

/** What training asks of the GPU, in bytes. */
export interface TrainingBytes {
  readonly gradients: number
  /** Of the optimizer. */
  readonly state: number
  /** Activations, and whatever else a step needs for a while. */
  readonly scratch: number
  readonly total: number
}

/** GPU bytes that a trainer will take, known before any is allocated. */
export function trainingBytes(model: Model, trainables: readonly Trainable[], options: TrainerOptions): TrainingBytes {
  const { tokens, optimizer } = options
  const inputs = lossInputs(model.device, model.network, tokens, true)
  const trained = trainables.map((trainable) => {
    return { trainable, gradient: unbackedLike(trainable.parameter.variable), state: [], frozen: 0 }
  })
  const dloss = unbacked([tokens])
  const { run } = recordGradients(model, inputs, dloss, trained, options)
  const gradients = trained
    .flatMap((each) => tensorsOf(each.gradient))
    .reduce((sum, x) => sum + x.storage.byteLength, 0)
  const state = trained.reduce((sum, each) => sum + activeElements(each) * 4 * optimizer.state.length, 0)
  const scratch = run.bytes + inputBytes(inputs) + dloss.storage.byteLength
  return { gradients, state, scratch, total: gradients + state + scratch }
}

/** The way there and back: each trained parameter's gradient is added onto its sum. */
function recordGradients(
  { device, network }: Model,
  inputs: LossInputs,
  dloss: Tensor,
  trained: readonly Trained[],
  { recompute, objective }: TrainerOptions,
): { run: Run; loss: Tensor } {
  const tape = new Tape()
  const run = new Run(device, tape)
  const loss = run.keep(sequenceLoss(run, network, inputs, { recompute, objective }))
  const variables = trained.map(({ trainable }) => differentiated(trainable.parameter))
  tape.gradients(
    run,
    loss,
    dloss,
    variables,
    trained.map(({ gradient }) => gradient),
  )
  return { run, loss }
}

function unbackedLike(variable: Variable): Variable {
  if (!("parts" in variable)) return unbacked(variable.shape)
  const parts = variable.parts.map((part) => ({ ...part, tensor: unbacked(part.tensor.shape) }))
  return { ...variable, parts }
}

function newState(device: Device, trained: Trained, { state }: Optimizer): Tensor[][] {
  return tensorsOf(trained.gradient).map((tensor) => {
    const { columns, active } = columnsOf(trained, tensor)
    const shape = [sizeOf(tensor.shape) / columns, active]
    return state.map(() => device.tensor("training", shape))
  })
}

/** The parts of a parameter as an optimizer takes them. */
function partsOf(trained: Trained) {
  const { trainable, gradient, state } = trained
  const gradients = tensorsOf(gradient)
  return tensorsOf(trainable.parameter.variable).map((weight, i) => {
    const columns = columnsOf(trained, weight)
    return { weight, gradient: gradients[i]!, state: state[i] ?? [], decay: trainable.decay, ...columns }
  })
}

/** What of a tensor is trained: neither what it is padded with nor frozen columns. */
function columnsOf({ trainable, frozen }: Trained, tensor: Tensor): ActiveColumns {
  const { variable, shape } = trainable.parameter
  const [columns, stored] = [shape.at(-1)!, variable.shape.at(-1)!]
  if (columns < stored || frozen > 0) return { columns: stored, first: frozen, active: columns - frozen }
  const all = sizeOf(tensor.shape)
  return { columns: all, first: 0, active: Math.min(all, sizeOf(shape)) } // padding rows come last
}

function activeElements(trained: Trained): number {
  return tensorsOf(trained.gradient).reduce((sum, tensor) => {
    const { columns, active } = columnsOf(trained, tensor)
    return sum + (sizeOf(tensor.shape) / columns) * active
  }, 0)
}

/** Rows of `active` values without the first `dropped` of each. */
function dropColumns(values: Float32Array, { active, dropped }: { active: number; dropped: number }) {
  const kept = active - dropped
  return Float32Array.from({ length: (values.length / active) * kept }, (_, i) => {
    return values[Math.floor(i / kept) * active + dropped + (i % kept)]!
  })
}

function total(losses: ArrayBuffer): number {
  return new Float32Array(losses).reduce((sum, value) => sum + value, 0)
}
