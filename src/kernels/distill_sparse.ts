import type { Block } from "./cross_entropy.ts"
import type { Divergence } from "./distill_options.ts"
import type { Run } from "./run.ts"
import { distill_sparse_backward, distill_sparse_scatter, distill_sparse as kernel } from "./shaders.ts"
import { expectShape, fold } from "./shape.ts"
import { sizeOf, type Tensor } from "./tensor.ts"

/** What a teacher thinks of some tokens. */
export interface SparseTargets {
  /** `[T, K]`, u32, each below V; those of a row that are used are distinct */
  readonly ids: Tensor
  /** `[T, K]`, at the temperature in use; 0 where a slot is unused */
  readonly probs: Tensor
}

/** What is compared: see `SparseDistillOptions`. */
export type Over = "full" | "support" | "tail"

/** A student's softmax, as far as a sparse divergence wants to know. */
export interface SparseScores {
  /** `[T, K]`: the logits of the teacher's ids, capped. */
  readonly values: Tensor
  /** `[T, 2]`, of `logSumExpBlock`: over all other tokens. */
  readonly rest: Tensor
}

const OVER = { full: 0, support: 1, tail: 2 } as const
const KIND = { forward_kl: 0, reverse_kl: 1, jsd: 2 } as const

/**
 * Divergence of a student from a teacher who is known at K tokens, times `scale`.
 *
 * @param targets `[T]`, u32: where `IGNORED`, the loss is 0
 * @returns       loss `[T]`, and its slopes `[T, K + 1]` by the values over the temperature and by the log-sum-exp of the rest
 */
export function distillSparse(
  run: Run,
  { probs }: SparseTargets,
  { values, rest }: SparseScores,
  targets: Tensor,
  over: Over,
  { kind, beta, temperature, scale }: Divergence,
): { loss: Tensor; slopes: Tensor } {
  const [T, K] = probs.shape as [number, number]
  const [loss, slopes] = [run.empty([T]), run.empty([T, K + 1])]
  const buffers = { values, probs, rest, targets, loss, slopes }
  run.dispatch(kernel, buffers, { K, over: OVER[over], kind: KIND[kind], beta, temperature, scale }, [T])
  return { loss, slopes }
}

/**
 * Gradient of `distillSparse` with respect to a block of logits, through the cap.
 *
 * @param logits `[T, columns]`
 * @param slopes `[T, K + 1]`
 * @param dloss  `[T]`
 * @returns      `[T, columns]`
 */
export function distillSparseBackward(
  run: Run,
  logits: Tensor,
  { ids, probs }: SparseTargets,
  rest: Tensor,
  slopes: Tensor,
  dloss: Tensor,
  { first, cap }: Block,
  temperature: number,
): Tensor {
  const [T, V] = logits.shape as [number, number]
  const K = ids.shape[1]!
  expectShape("distillSparseBackward", "dloss", dloss, [T])
  const dlogits = run.empty([T, V])
  const params = { n: sizeOf(ids.shape), V, K, first, cap, temperature }
  const whole = { logits, rest, slopes, dloss, dlogits }
  run.dispatch(distill_sparse_backward, whole, params, [Math.ceil(V / 1024), T])
  const some = { logits, ids, probs, slopes, dloss, dlogits }
  run.dispatch(distill_sparse_scatter, some, params, fold(Math.ceil(params.n / 64)))
  return dlogits
}
