import { crossEntropyBackward, crossEntropyBlock, type Scores } from "./cross_entropy.ts"
import { linear } from "./linear.ts"
import type { Run } from "./run.ts"
import { expectDtype, expectShape, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"
import { blocksBackward, vocabularyBlocks } from "./vocabulary_blocks.ts"

export { IGNORED } from "./cross_entropy.ts"

export interface LinearCrossEntropyOptions {
  /** Logits become `softcap * tanh(logits / softcap)` (Gemma 2, arXiv:2408.00118, section 2). */
  readonly softcap: number | null
}

/**
 * `crossEntropy(softcap(linear(x, weight)), targets)` without ever holding `[T, V]`: over one block of the vocabulary after
 * the other, each of which backward computes again (as in Cut Cross-Entropy, arXiv:2411.09009).
 *
 * @param x       `[T, C]`
 * @param weight  `[V, C]`
 * @param targets `[T]`, u32, each below V or `IGNORED`
 * @returns       `[T]`
 */
export function linearCrossEntropy(
  run: Run,
  x: Tensor,
  weight: Matrix,
  targets: Tensor,
  { softcap }: LinearCrossEntropyOptions,
): Tensor {
  const [T, C] = rows("linearCrossEntropy", "x", x)
  const [V] = weight.shape
  expectShape("linearCrossEntropy", "weight", weight, [V, C])
  expectShape("linearCrossEntropy", "targets", targets, [T])
  expectDtype("linearCrossEntropy", "targets", targets, "u32")
  const blocks = vocabularyBlocks(run.device, weight, T, softcap)
  let scores: Scores | undefined
  for (const { part, block } of blocks) {
    scores = crossEntropyBlock(run, linear(run, x, part), targets, block, scores)
  }
  const { softmax, loss } = scores!
  run.tape?.record(loss, (dloss, sums) =>
    blocksBackward(run, x, weight, sums(weight), blocks, (logits, block) =>
      crossEntropyBackward(run, logits, targets, softmax, dloss, block),
    ),
  )
  return loss
}
