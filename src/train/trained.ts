import type { ActiveColumns } from "../kernels/active_columns.ts"
import type { Device } from "../kernels/device.ts"
import type { Variable } from "../kernels/tape.ts"
import { sizeOf, type Tensor, unbacked } from "../kernels/tensor.ts"
import { freeVariable, type Parameter, tensorsOf } from "../model/parameter.ts"
import type { Optimizer } from "./optimizer.ts"

/** A parameter that is to be trained. */
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

/** A parameter in training: with its gradient, and what the optimizer keeps of it. */
export interface Trained {
  readonly trainable: Trainable
  readonly gradient: Variable
  /** By part of the variable, then by name of the optimizer's state. */
  state: Tensor[][]
  /** How many leading columns no longer move. */
  frozen: number
}

/** An optimizer's state of one parameter: the tensors of all its parts, and how many values they have. */
export interface NamedState {
  readonly name: string
  readonly tensors: readonly Tensor[]
  readonly n: number
}

/** Without memory: enough to record with, and to count by. */
export function unbackedTrained(trainable: Trainable): Trained {
  return { trainable, gradient: unbackedLike(trainable.parameter.variable), state: [], frozen: 0 }
}

export function createTrained(device: Device, trainable: Trainable, optimizer: Optimizer): Trained {
  const trained = unbackedTrained(trainable)
  device.allocate("training", tensorsOf(trained.gradient))
  trained.state = newState(device, trained, optimizer)
  return trained
}

/** Gives all back but the parameter. */
export function freeTrained(device: Device, { gradient, state }: Trained): void {
  freeVariable(device, gradient)
  freeState(device, state)
}

/** Lets go of the state of columns that no longer move, and of the gradient too when the last one does not. */
export async function freezeColumns(
  device: Device,
  trained: Trained,
  frozen: number,
  optimizer: Optimizer,
): Promise<void> {
  const columns = trained.trainable.parameter.shape.at(-1)!
  const before = { active: columns - trained.frozen, dropped: frozen - trained.frozen }
  const old = trained.state
  trained.frozen = frozen
  if (isDone(trained)) {
    trained.state = []
    freeVariable(device, trained.gradient)
  } else {
    trained.state = newState(device, trained, optimizer)
    for (const [p, part] of old.entries()) {
      for (const [k, tensor] of part.entries()) {
        const values = new Float32Array(await device.read(tensor))
        device.write(trained.state[p]![k]!, dropColumns(values, before))
      }
    }
  }
  freeState(device, old)
}

/** Whether none of its columns moves any more. */
export function isDone({ trainable, frozen }: Trained): boolean {
  return frozen >= trainable.parameter.shape.at(-1)!
}

/** What the optimizer keeps of a parameter, by the names that it has in a file. */
export function namedStates({ trainable, state }: Trained, optimizer: Optimizer): NamedState[] {
  return optimizer.state.map((each, k) => {
    const tensors = state.map((part) => part[k]!)
    const n = tensors.reduce((sum, tensor) => sum + sizeOf(tensor.shape), 0)
    return { name: `${trainable.name}.${each}`, tensors, n }
  })
}

/** The parts of a parameter as an optimizer takes them. */
export function partsOf(trained: Trained) {
  const { trainable, gradient, state } = trained
  const gradients = tensorsOf(gradient)
  return tensorsOf(trainable.parameter.variable).map((weight, i) => {
    const columns = columnsOf(trained, weight)
    return { weight, gradient: gradients[i]!, state: state[i] ?? [], decay: trainable.decay, ...columns }
  })
}

/** Elements that an update changes now. */
export function activeElements(trained: Trained): number {
  return tensorsOf(trained.gradient).reduce((sum, tensor) => {
    const { columns, active } = columnsOf(trained, tensor)
    return sum + (sizeOf(tensor.shape) / columns) * active
  }, 0)
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

function freeState(device: Device, state: readonly (readonly Tensor[])[]): void {
  for (const tensor of state.flat()) device.free(tensor.storage.buffer!)
}

/** What of a tensor is trained: neither what it is padded with nor frozen columns. */
function columnsOf({ trainable, frozen }: Trained, tensor: Tensor): ActiveColumns {
  const { variable, shape } = trainable.parameter
  const [columns, stored] = [shape.at(-1)!, variable.shape.at(-1)!]
  if (columns < stored || frozen > 0) return { columns: stored, first: frozen, active: columns - frozen }
  const all = sizeOf(tensor.shape)
  return { columns: all, first: 0, active: Math.min(all, sizeOf(shape)) } // padding rows come last
}

/** Rows of `active` values without the first `dropped` of each. */
function dropColumns(values: Float32Array, { active, dropped }: { active: number; dropped: number }) {
  const kept = active - dropped
  return Float32Array.from({ length: (values.length / active) * kept }, (_, i) => {
    return values[Math.floor(i / kept) * active + dropped + (i % kept)]!
  })
}
