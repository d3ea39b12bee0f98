import type { Device } from "../kernels/device.ts"
import { IGNORED, linearCrossEntropy } from "../kernels/linear_cross_entropy.ts"
import type { Head } from "../kernels/linear_distill.ts"
import type { Run } from "../kernels/run.ts"
import { type Tensor, unbacked } from "../kernels/tensor.ts"
import type { Network, WholePassage } from "./network.ts"

/** A sequence and what each position should have been, -100 for no target; position t is scored on `labels[t + 1]`. */
export interface Labelled {
  readonly ids: readonly number[]
  readonly labels: readonly number[]
}

/** Sequences packed behind one another, T tokens in all. */
export interface Packed {
  readonly ids: Uint32Array<ArrayBuffer>
  /** What each position is scored on, or `IGNORED`. */
  readonly targets: Uint32Array<ArrayBuffer>
  /** Where each position's sequence begins. */
  readonly starts: Uint32Array<ArrayBuffer>
  /** Positions that are scored. */
  readonly count: number
}

/**
 * Lays sequences behind one another.
 *
 * @param T tokens in all; those that the sequences leave over are not scored
 */
export function pack(
  sequences: readonly Labelled[],
  T = sequences.reduce((sum, { ids }) => sum + ids.length, 0),
): Packed {
  const ids = new Uint32Array(T)
  const targets = new Uint32Array(T).fill(IGNORED)
  const starts = Uint32Array.from({ length: T }, (_, t) => t)
  let start = 0
  let count = 0
  for (const sequence of sequences) {
    ids.set(sequence.ids, start)
    starts.fill(start, start, start + sequence.ids.length)
    sequence.labels.slice(1).forEach((label, t) => {
      if (label === -100) return
      targets[start + t] = label
      count++
    })
    start += sequence.ids.length
  }
  return { ids, targets, starts, count }
}

/** Where a loss finds what it is computed of. */
export interface LossInputs {
  /** `[T]`, u32 */
  readonly ids: Tensor
  /** `[T]`, u32 */
  readonly targets: Tensor
  /** `[T]`, u32 */
  readonly starts: Tensor
  /** `[2]`, u32: 0, the position of the first token */
  readonly cursor: Tensor
  /** For T tokens or more. */
  readonly passage: WholePassage
}

/** Room on the GPU for T tokens; with `empty` only tensors without memory, to weigh what would be recorded. */
export function lossInputs(device: Device, network: Network, T: number, empty = false): LossInputs {
  const room = (n: number) => (empty ? unbacked([n], "u32") : device.tensor("scratch", [n], "u32"))
  return { ids: room(T), targets: room(T), starts: room(T), cursor: room(2), passage: network.whole(T, empty) }
}

/** Bytes of that room. */
export function inputBytes({ ids, targets, starts, cursor, passage }: LossInputs): number {
  return [ids, targets, starts, cursor].reduce((sum, { storage }) => sum + storage.byteLength, passage.byteLength)
}

/** Puts packed sequences there. */
export function writeInputs(device: Device, inputs: LossInputs, { ids, targets, starts }: Packed): void {
  device.write(inputs.ids, ids)
  device.write(inputs.targets, targets)
  device.write(inputs.starts, starts)
}

/** Gives the room back. */
export function freeInputs(device: Device, { ids, targets, starts, cursor, passage }: LossInputs): void {
  for (const { storage } of [ids, targets, starts, cursor]) device.free(storage.buffer!)
  passage.free()
}

/** What is made of the final norm's output. */
export interface Objective {
  /**
   * Records a loss of each token.
   *
   * @param head what the logits of the T tokens are made of
   * @returns    `[T]`
   */
  record(run: Run, head: Head, inputs: LossInputs): Tensor
  /** Puts what else it reads for these sequences on the GPU, before they go through the model. */
  prepare?(sequences: readonly Labelled[]): void
}

export interface LossOptions {
  /** Keep only what goes from layer to layer, and compute the rest again for the backward pass. */
  readonly recompute?: boolean | undefined
  /** Cross-entropy by default. */
  readonly objective?: Objective | undefined
}

/**
 * Records the loss of packed sequences, which do not see each other. Positions go on from one to the next: rotary scores
 * depend on differences only.
 *
 * @returns `[T]`, in nats, 0 where nothing is scored
 */
export function sequenceLoss(
  run: Run,
  network: Network,
  inputs: LossInputs,
  { recompute = false, objective }: LossOptions = {},
): Tensor {
  const { ids, targets, starts, cursor, passage } = inputs
  const head = network.head(run, passage.forward(run, ids, { cursor, starts }, { recompute }))
  if (objective) return objective.record(run, head, inputs)
  return linearCrossEntropy(run, head.x, head.weight, targets, { softcap: head.softcap })
}
