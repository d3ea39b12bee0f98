import { accumulate } from "./accumulate.ts"
import { crossEntropyBackward, crossEntropyBlock, type Scores } from "./cross_entropy.ts"
import { type DistillScores, distillBackward, distillBlock, distillJsdBlock, type LogitsPair } from "./distill.ts"
import { type DistillOptions, divergenceOf } from "./distill_options.ts"
import { linear } from "./linear.ts"
import { linearCrossEntropy } from "./linear_cross_entropy.ts"
import type { Run } from "./run.ts"
import { scale } from "./scale.ts"
import { expectDtype, expectShape, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"
import { blocksBackward, rowsWith, vocabularyBlocks } from "./vocabulary_blocks.ts"

/** A model's end: its logits are `softcap(linear(x, weight))`. */
export interface Head {
  /** `[T, C]`; widths may differ between models */
  readonly x: Tensor
  /** `[V, C]` */
  readonly weight: Matrix
  /** Logits become `softcap * tanh(logits / softcap)` (Gemma 2, arXiv:2408.00118, section 2). */
  readonly softcap: number | null
}

/**
 * Divergence of a student from a live teacher over the whole vocabulary, mixed with cross-entropy, without ever holding
 * `[T, V]`: over one block of the vocabulary after the other, each of which backward computes again. The teacher gets no
 * gradient.
 *
 * @param targets `[T]`, u32, each below V or `IGNORED`, which also leaves the divergence out
 * @returns       `[T]`
 */
export function linearDistill(
  run: Run,
  student: Head,
  teacher: Head,
  targets: Tensor,
  options: DistillOptions,
): Tensor {
  const divergence = divergenceOf("linearDistill", options)
  const { mix } = divergence
  const { x, weight, softcap } = student
  const T = expectHead("linearDistill", "", student)
  expectHead("linearDistill", "teacher's ", teacher)
  expectShape("linearDistill", "teacher's x", teacher.x, [T, teacher.weight.shape[1]])
  expectShape("linearDistill", "teacher's weight", teacher.weight, [weight.shape[0], teacher.weight.shape[1]])
  expectShape("linearDistill", "targets", targets, [T])
  expectDtype("linearDistill", "targets", targets, "u32")
  if (mix === 0) return linearCrossEntropy(run, x, weight, targets, { softcap })

  const blocks = vocabularyBlocks(run.device, weight, T, softcap)
  const pairWith = (logits: Tensor, block: LogitsPair["block"]): LogitsPair => {
    const { part, shift } = rowsWith(teacher.weight, block.first, block.first + logits.shape[1]!)
    return { student: logits, teacher: linear(run, teacher.x, part), shift, block, teacherCap: teacher.softcap ?? 0 }
  }
  let known: DistillScores | undefined
  let scores: Scores | undefined
  for (const { part, block } of blocks) {
    const logits = linear(run, x, part)
    known = distillBlock(run, pairWith(logits, block), targets, divergence, known)
    if (mix < 1) scores = crossEntropyBlock(run, logits, targets, block, scores)
  }
  if (divergence.kind === "jsd") {
    for (const { part, block } of blocks) {
      known = distillJsdBlock(run, pairWith(linear(run, x, part), block), targets, divergence, known!)
    }
  }
  const { loss } = known!
  if (scores) accumulate(run, loss, scale(run, scores.loss, 1 - mix))
  run.tape?.record(loss, (dloss, sums) =>
    blocksBackward(run, x, weight, sums(weight), blocks, (logits, block) => {
      const dlogits = distillBackward(run, pairWith(logits, block), targets, divergence, known!, dloss)
      if (scores) {
        const share = scale(run, dloss, 1 - mix)
        accumulate(run, dlogits, crossEntropyBackward(run, logits, targets, scores.softmax, share, block))
      }
      return dlogits
    }),
  )
  return loss
}

/** Refuses a head whose parts do not match, and gives its number of tokens. */
export function expectHead(op: string, whose: string, { x, weight }: Pick<Head, "x" | "weight">): number {
  const [T, C] = rows(op, `${whose}x`, x)
  expectShape(op, `${whose}weight`, weight, [weight.shape[0], C])
  return T
}
