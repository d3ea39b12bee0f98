import type { Device } from "../kernels/device.ts"
import { IGNORED, linearCrossEntropy } from "../kernels/linear_cross_entropy.ts"
import { type RopeTables, ropeTables } from "../kernels/rope.ts"
import type { Run } from "../kernels/run.ts"
import type { Matrix, Tensor } from "../kernels/tensor.ts"
import type { ModelConfig } from "./config.ts"
import { forward, type ModelWeights } from "./gemma.ts"

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
  /** One per layer, for T positions or more. */
  readonly ropes: readonly RopeTables[]
}

/** Room on the GPU for T tokens. */
export function lossInputs(device: Device, config: ModelConfig, T: number): LossInputs {
  const room = (n: number) => device.tensor("scratch", [n], "u32")
  return { ids: room(T), targets: room(T), starts: room(T), cursor: room(2), ropes: ropesOf(device, config, T) }
}

/** Puts packed sequences there. */
export function writeInputs(device: Device, inputs: LossInputs, { ids, targets, starts }: Packed): void {
  device.write(inputs.ids, ids)
  device.write(inputs.targets, targets)
  device.write(inputs.starts, starts)
}

/** Rotary tables of every layer; layers that rotate alike share them. */
export function ropesOf(device: Device, config: ModelConfig, positions: number): RopeTables[] {
  const tables = new Map<string, RopeTables>()
  return config.layers.map(({ rope }) => {
    const key = `${rope.theta} ${rope.factor}`
    const table = tables.get(key) ?? ropeTables(device, { headDim: config.headDim, ...rope }, positions)
    tables.set(key, table)
    return table
  })
}

/** Bytes of the room for T tokens. */
export function inputBytes(config: ModelConfig, T: number): number {
  const kinds = new Set(config.layers.map(({ rope }) => `${rope.theta} ${rope.factor}`)).size
  return 3 * 4 * T + 8 + kinds * (Math.ceil(T / 256) + 256) * config.headDim * 4
}

/** Gives the room back. */
export function freeInputs(device: Device, { ids, targets, starts, cursor, ropes }: LossInputs): void {
  const tables = ropes.flatMap(({ coarse, fine }) => [coarse, fine])
  for (const { storage } of [ids, targets, starts, cursor, ...tables]) device.free(storage.buffer!)
}

/** What is made of the final norm's output. */
export interface Objective {
  /**
   * Records a loss of each token.
   *
   * @param x    `[T, C]`, the final norm's output
   * @param head `[V, C]`
   * @returns    `[T]`
   */
  record(run: Run, x: Tensor, head: Matrix, inputs: LossInputs): Tensor
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
  config: ModelConfig,
  weights: ModelWeights,
  inputs: LossInputs,
  { recompute = false, objective }: LossOptions = {},
): Tensor {
  const { ids, targets, starts, cursor, ropes } = inputs
  const states = ropes.map((rope) => ({ rope, cursor, starts }))
  const x = forward(run, config, weights, ids, states, { recompute })
  const head = weights.head ?? weights.embedding
  if (objective) return objective.record(run, x, head, inputs)
  return linearCrossEntropy(run, x, head, targets, { softcap: config.finalSoftcap })
}
