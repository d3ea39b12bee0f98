import { accumulate } from "./accumulate.ts"
import { crossEntropyBackward, crossEntropyBlock, type Scores } from "./cross_entropy.ts"
import { type DistillOptions, type Divergence, divergenceOf } from "./distill_options.ts"
import { distillSparse, distillSparseBackward, type Over, type SparseTargets } from "./distill_sparse.ts"
import { dropLogitsBlock, gatherLogitsBlock } from "./gather_logits.ts"
import { linear } from "./linear.ts"
import { linearCrossEntropy } from "./linear_cross_entropy.ts"
import { expectHead } from "./linear_distill.ts"
import { logSumExpBlock } from "./log_sum_exp.ts"
import type { Run } from "./run.ts"
import { scale } from "./scale.ts"
import { expectDtype, expectShape } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"
import { blocksBackward, vocabularyBlocks } from "./vocabulary_blocks.ts"

export type { SparseTargets } from "./distill_sparse.ts"

export interface SparseDistillOptions extends DistillOptions {
  /** Logits become `softcap * tanh(logits / softcap)` (Gemma 2, arXiv:2408.00118, section 2). */
  readonly softcap: number | null
  /**
   * What is compared:
   * - "full": the teacher, renormalised over the ids, with the student over the whole vocabulary. The divergence is the
   *   cross-entropy `-sum p log q`, which is the forward KL and the teacher's entropy; there is no other `kind`. With ids
   *   drawn from the teacher this is the recipe of Gemma 3 (arXiv:2503.19786, section 2.2).
   * - "support": both, each renormalised over the ids.
   * - "tail": both over the ids and one bucket more for all other tokens.
   */
  readonly over: Over
}

/**
 * Divergence of a student from a teacher who is known at a few tokens, mixed with cross-entropy, without ever holding
 * `[T, V]`: over one block of the vocabulary after the other, each of which backward computes again.
 *
 * @param x       `[T, C]`
 * @param weight  `[V, C]`
 * @param targets `[T]`, u32, each below V or `IGNORED`, which also leaves the divergence out
 * @returns       `[T]`
 */
export function linearDistillSparse(
  run: Run,
  x: Tensor,
  weight: Matrix,
  targets: Tensor,
  teacher: SparseTargets,
  { softcap, over, ...options }: SparseDistillOptions,
): Tensor {
  const divergence = divergenceOf("linearDistillSparse", options)
  const { mix, temperature } = divergence
  const T = expectHead("linearDistillSparse", "", { x, weight })
  expectInputs(T, targets, teacher, over, divergence)
  if (mix === 0) return linearCrossEntropy(run, x, weight, targets, { softcap })

  const blocks = vocabularyBlocks(run.device, weight, T, softcap)
  const { ids, probs } = teacher
  let scores: Scores | undefined
  let values: Tensor | undefined
  let rest: Tensor | undefined
  for (const { part, block } of blocks) {
    const logits = linear(run, x, part)
    if (mix < 1) scores = crossEntropyBlock(run, logits, targets, block, scores)
    values = gatherLogitsBlock(run, logits, ids, block, values)
    dropLogitsBlock(run, logits, ids, probs, block)
    rest = logSumExpBlock(run, logits, block, temperature, rest)
  }
  const known = { values: values!, rest: rest! }
  const { loss, slopes } = distillSparse(run, teacher, known, targets, over, divergence)
  if (scores) accumulate(run, loss, scale(run, scores.loss, 1 - mix))
  run.tape?.record(loss, (dloss, sums) =>
    blocksBackward(run, x, weight, sums(weight), blocks, (logits, block) => {
      const dlogits = distillSparseBackward(run, logits, teacher, known.rest, slopes, dloss, block, temperature)
      if (scores) {
        const share = scale(run, dloss, 1 - mix)
        accumulate(run, dlogits, crossEntropyBackward(run, logits, targets, scores.softmax, share, block))
      }
      return dlogits
    }),
  )
  return loss
}

function expectInputs(
  T: number,
  targets: Tensor,
  { ids, probs }: SparseTargets,
  over: Over,
  { kind }: Divergence,
): void {
  const op = "linearDistillSparse"
  expectShape(op, "targets", targets, [T])
  expectDtype(op, "targets", targets, "u32")
  expectShape(op, "ids", ids, [T, ids.shape[1] ?? 0])
  expectDtype(op, "ids", ids, "u32")
  expectShape(op, "probs", probs, ids.shape)
  expectDtype(op, "probs", probs, "f32")
  if (over === "full" && kind !== "forward_kl") {
    throw new RangeError(`${op}: kind is ${kind}, expected forward_kl over the full vocabulary`)
  }
}
