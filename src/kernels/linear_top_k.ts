import type { SparseTargets } from "./distill_sparse.ts"
import { gatherLogitsBlock, tokenProbs } from "./gather_logits.ts"
import { linear } from "./linear.ts"
import { expectHead } from "./linear_distill.ts"
import { logSumExpBlock } from "./log_sum_exp.ts"
import type { Run } from "./run.ts"
import { top_k, top_k_sort } from "./shaders.ts"
import { expectDtype, expectShape, fold } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"
import { vocabularyBlocks } from "./vocabulary_blocks.ts"

/** The most tokens that `linearTopK` keeps of a row. */
export const MAX_TOP_K = 256

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
  const most = Math.min(MAX_TOP_K, weight.shape[0])
  if (!(Number.isInteger(k) && k >= 1 && k <= most)) {
    throw new RangeError(`linearTopK: k is ${k}, expected 1 to ${most}`)
  }
  const [values, ids] = [run.empty([T, k]), run.empty([T, k], "u32")]
  let scores: Tensor | undefined
  for (const { part, block } of vocabularyBlocks(run.device, weight, T, softcap)) {
    const logits = linear(run, x, part)
    scores = logSumExpBlock(run, logits, block, temperature, scores)
    run.dispatch(top_k, { logits, values, ids }, { V: part.shape[0], K: k, first: block.first }, [T])
  }
  const [sorted_values, sorted_ids] = [run.empty([T, k]), run.empty([T, k], "u32")]
  const params = { n: T * k, K: k, cap: softcap ?? 0 }
  run.dispatch(top_k_sort, { values, ids, sorted_values, sorted_ids }, params, fold(Math.ceil((T * k) / 64)))
  return { ids: sorted_ids, probs: tokenProbs(run, sorted_values, scores!, temperature) }
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
