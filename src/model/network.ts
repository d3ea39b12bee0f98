import type { AttendOptions, KvCache } from "../kernels/attend.ts"
import type { Head } from "../kernels/linear_distill.ts"
import type { Run } from "../kernels/run.ts"
import type { Tensor } from "../kernels/tensor.ts"
import type { CacheDtype } from "./cost.ts"
import type { Linear } from "./linear.ts"

/** Where tokens stand. */
export interface Place {
  /** `[2]`, u32: the position of the first token, and a count that networks do not use. */
  readonly cursor: Tensor
  /** `[T]`, u32: where each token's own sequence begins, if several lie packed behind one another. */
  readonly starts?: Tensor | undefined
}

/** What the attention of a layer is computed of. */
export interface AttentionInputs extends Omit<AttendOptions, "starts"> {
  /** `[T, H, D]`, after norm and rotation. */
  readonly q: Tensor
  readonly cache: KvCache
  /** `[2]`, u32: the position of q's first row, and a count that is not used. */
  readonly cursor: Tensor
}

export interface ForwardOptions {
  /** Sees the residual stream: the embedding, then the output of each layer. */
  readonly onState?: (x: Tensor) => void
  /** Sees what each layer with attention attends with. */
  readonly onAttention?: (layer: number, inputs: AttentionInputs) => void
  /** On a tape: keep only what goes from layer to layer, and record the rest again for the backward pass. */
  readonly recompute?: boolean | undefined
}

/**
 * What a passage keeps of positions, in slots that take turns: that of position s lies in slot `s % capacity`. A layer that
 * sees everything has a slot per position, a local one a ring. A recurrence's state is a ring of one slot with a window of
 * two: the next token sees what the last one has left, and nothing before.
 */
export interface Kept {
  /** Its own within the passage, and the same in every passage of the model: files call it so. */
  readonly name: string
  /** `[capacity, ...]`, the first dimension being the slots */
  readonly tensor: Tensor
  /** How many positions a token sees, its own among them; null for all. */
  readonly window: number | null
}

/** A way for tokens through a network. */
export interface Passage {
  /**
   * Records the model up to its head.
   *
   * @param ids `[T]`, u32
   * @returns   `[T, C]` after the final norm
   */
  forward(run: Run, ids: Tensor, place: Place, options?: ForwardOptions): Tensor
  /** What it holds on the GPU, or would. */
  readonly byteLength: number
}

/** One for sequences that go through whole. */
export interface WholePassage extends Passage {
  /** Gives what it holds back. */
  free(): void
}

/** One for a sequence that goes through in pieces. */
export interface PiecewisePassage extends Passage {
  /** What it keeps of those that went through: keys and values, a recurrence's states. */
  readonly kept: readonly Kept[]
}

/** Passages of several sequences, whose last tokens can go through together. */
export interface Sequences {
  readonly each: readonly PiecewisePassage[]
  /**
   * Records the model up to its head for a token of each of the first n sequences.
   *
   * @param ids    `[n]`, u32
   * @param cursor `[B, 2]`, u32: the position of each, or NO_POSITION where a sequence has none to go through; and a count
   * @returns      `[n, C]` after the final norm
   */
  together(run: Run, ids: Tensor, cursor: Tensor): Tensor
}

export interface SequenceOptions {
  /** Positions that each holds. */
  readonly context: number
  /** Tokens of one that go through at once. */
  readonly chunk: number
  /** How many. */
  readonly sequences: number
  /** How keys and values are kept, f32 by default; recurrences keep states, and in f32. */
  readonly cacheDtype?: CacheDtype | undefined
}

/** What a family of models computes, over the weights of one. */
export interface Network {
  /** Linear layers that adapters may sit on, by the checkpoint's names without `.weight`. */
  readonly linears: ReadonlyMap<string, Linear>
  /** Passages for sequences that go through piece by piece. */
  inPieces(options: SequenceOptions): Sequences
  /**
   * A passage for sequences that go through whole, T tokens in all, as in training.
   *
   * @param T     at most as many
   * @param empty without memory: to record what is only weighed
   */
  whole(T: number, empty?: boolean): WholePassage
  /** What logits are made of: normed hidden states `[T, C]`, the matrix that they are multiplied by, and a cap. */
  head(run: Run, x: Tensor): Head
  /** Records anew what is derived from weights, as must be done after they change. */
  derive(run: Run): void
}
