import type { SparseTargets } from "./distill_sparse.ts"
import { gatherLogitsBlock, tokenProbs } from "./gather_logits.ts"
import { linear } from "./linear.ts"
import { expectHead } from "./linear_distill.ts"
import { logSumExpBlock } from "./log_sum_exp.ts"
import type { Run } from "./run.ts"
import { expectDtype, expectShape } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"
import { expectTopK, type Largest, sortTopK, topKBlock } from "./top_k.ts"
import { vocabularyBlocks } from "./vocabulary_blocks.ts"

/** How logits become probabilities. */
export interface SoftmaxOptions {
  /** Logits become `softcap * tanh(logits / softcap)` (Gemma 2, arXiv:2408.00118, section 2). */
  readonly softcap: number | null
  /** What logits are divided by. */
  readonly temperature: number
}

/**
 * The k likeliest tokens, the likeliest first, the lower id among equals, with their probabilities over the whole
 * vocabulary; without ever holding `[T, V]`.
 *
 * @param x      `[T, C]`
 * @param weight `[V, C]`
 * @returns      ids and probs `[T, k]`
 */
export function linearTopK(
  run: Run,
  x: Tensor,
  weight: Matrix,
  { softcap, temperature, k }: SoftmaxOptions & { readonly k: number },
): SparseTargets {
  const T = expectHead("linearTopK", "", { x, weight })
  expectTopK("linearTopK", k, weight.shape[0])
  let scores: Tensor | undefined
  let largest: Largest | undefined
  for (const { part, block } of vocabularyBlocks(run.device, weight, T, softcap)) {
    const logits = linear(run, x, part)
    scores = logSumExpBlock(run, logits, block, temperature, scores)
    largest = topKBlock(run, logits, k, block.first, largest)
  }
  const { values, ids } = sortTopK(run, largest!, softcap)
  return { ids, probs: tokenProbs(run, values, scores!, temperature) }
}

/**
 * Probabilities of given tokens over the whole vocabulary, without ever holding `[T, V]`.
 *
 * @param x      `[T, C]`
 * @param weight `[V, C]`
 * @param ids    `[T, K]`, u32, each below V
 * @returns      `[T, K]`
 */
export function gatherProbs(
  run: Run,
  x: Tensor,
  weight: Matrix,
  ids: Tensor,
  { softcap, temperature }: SoftmaxOptions,
): Tensor {
  const T = expectHead("gatherProbs", "", { x, weight })
  expectShape("gatherProbs", "ids", ids, [T, ids.shape[1] ?? 0])
  expectDtype("gatherProbs", "ids", ids, "u32")
  let scores: Tensor | undefined
  let values: Tensor | undefined
  for (const { part, block } of vocabularyBlocks(run.device, weight, T, softcap)) {
    const logits = linear(run, x, part)
    scores = logSumExpBlock(run, logits, block, temperature, scores)
    values = gatherLogitsBlock(run, logits, ids, block, values)
  }
  return tokenProbs(run, values!, scores!, temperature)
}
