import type { Block } from "./cross_entropy.ts"
import type { Divergence } from "./distill_options.ts"
import type { Run } from "./run.ts"
import { distill_backward, distill_jsd, distill_jsd_backward, distill as kernel } from "./shaders.ts"
import { expectShape } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/** A block of the student's logits and, of the same tokens, the teacher's. */
export interface LogitsPair {
  /** `[T, columns]` */
  readonly student: Tensor
  /** `[T, shift + columns]` */
  readonly teacher: Tensor
  /** Columns of the teacher that lie before the block. */
  readonly shift: number
  readonly block: Block
  /** The teacher's cap, 0 for none. */
  readonly teacherCap: number
}

/** What is known of each token's divergence from the blocks so far. */
export interface DistillScores {
  /** `[T, 6]`: the student's maximum and sum of exponentials, the teacher's, and what the two KL divergences are made of. */
  readonly scores: Tensor
  /** `[T, 2]`: KL(P || M) and KL(Q || M), for "jsd". */
  readonly sums?: Tensor
  /** `[T]` */
  readonly loss: Tensor
}

/**
 * Divergence of the student from the teacher over the blocks of the vocabulary up to this one, times `scale`. They come in
 * order. For "jsd" this gives but what `distillJsdBlock` wants to know when it goes over the blocks again.
 *
 * @param targets `[T]`, u32: where `IGNORED`, the loss is 0
 * @param before  what the blocks before gave, which is updated in place; none before the first
 */
export function distillBlock(
  run: Run,
  pair: LogitsPair,
  targets: Tensor,
  divergence: Divergence,
  before?: DistillScores,
): DistillScores {
  const [T, params] = sizes("distill", pair)
  const { scores, loss } = before ?? { scores: run.empty([T, 6]), loss: run.empty([T]) }
  const { student, teacher } = pair
  const buffers = { student, teacher, targets, scores, loss }
  run.dispatch(kernel, buffers, { ...params, ...weightsOf(divergence) }, [T])
  return { scores, loss }
}

/**
 * Generalised Jensen-Shannon divergence over the blocks up to this one, times `scale`. They come in order.
 *
 * @param targets `[T]`, u32: where `IGNORED`, the loss is 0
 * @param before  of `distillBlock` after its last block, then what the block before gave
 */
export function distillJsdBlock(
  run: Run,
  pair: LogitsPair,
  targets: Tensor,
  divergence: Divergence,
  before: DistillScores,
): DistillScores {
  const [T, params] = sizes("distillJsd", pair)
  const { scores, loss, sums = run.empty([T, 2]) } = before
  const { student, teacher } = pair
  const { beta } = divergence
  const buffers = { student, teacher, targets, scores, sums, loss }
  run.dispatch(distill_jsd, buffers, { ...params, beta, ...weightsOf(divergence) }, [T])
  return { scores, sums, loss }
}

/**
 * Gradient with respect to a block of the student's logits, through its cap.
 *
 * @param targets `[T]`, u32
 * @param known   after the last block
 * @param dloss   `[T]`
 * @returns       `[T, columns]`
 */
export function distillBackward(
  run: Run,
  pair: LogitsPair,
  targets: Tensor,
  divergence: Divergence,
  { scores, sums }: DistillScores,
  dloss: Tensor,
): Tensor {
  const [T, params] = sizes("distillBackward", pair)
  expectShape("distillBackward", "dloss", dloss, [T])
  const { student, teacher } = pair
  const { beta } = divergence
  const dlogits = run.empty(student.shape)
  const workgroups = [Math.ceil(params.V / 1024), T] as const
  const buffers = { student, teacher, targets, scores, dloss, dlogits }
  const all = { ...params, beta, ...weightsOf(divergence) }
  if (sums) run.dispatch(distill_jsd_backward, { ...buffers, sums }, all, workgroups)
  else run.dispatch(distill_backward, buffers, all, workgroups)
  return dlogits
}

/** What the two KL divergences count in the loss, each from its own middle. */
function weightsOf({ kind, beta, scale, temperature }: Divergence) {
  const forward = { forward_kl: 1, reverse_kl: 0, jsd: beta }[kind]
  return { forward: scale * forward, reverse: scale * (1 - forward), temperature }
}

function sizes(op: string, { student, teacher, shift, block, teacherCap }: LogitsPair) {
  const [T, V] = student.shape as [number, number]
  expectShape(op, "teacher", teacher, [T, shift + V])
  return [T, { V, ...block, shift, teacher_cap: teacherCap }] as const
}
