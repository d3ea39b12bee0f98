import type { SparseTargets } from "./distill_sparse.ts"
import { linear } from "./linear.ts"
import { expectHead } from "./linear_distill.ts"
import type { SoftmaxOptions } from "./linear_top_k.ts"
import { logSumExpBlock } from "./log_sum_exp.ts"
import type { Run } from "./run.ts"
import { sample_targets, sample_tokens } from "./shaders.ts"
import { expectDtype, expectShape, fold } from "./shape.ts"
import { format, type Matrix, sizeOf, type Tensor } from "./tensor.ts"
import { vocabularyBlocks } from "./vocabulary_blocks.ts"

/**
 * Draws tokens by the inverse of their cumulative distribution, in the order of the vocabulary, without ever holding `[T, V]`.
 * It goes over the vocabulary twice: once for the sum, once to draw.
 *
 * @param x        `[T, C]`
 * @param weight   `[V, C]`
 * @param uniforms `[T, N]`, each in [0, 1); where a row rises, so do its ids
 * @returns        ids and probs `[T, N]`, a token as often as it is drawn
 */
export function linearSampleTokens(
  run: Run,
  x: Tensor,
  weight: Matrix,
  uniforms: Tensor,
  { softcap, temperature }: SoftmaxOptions,
): SparseTargets {
  const T = expectHead("linearSampleTokens", "", { x, weight })
  const N = uniforms.shape[1] ?? 0
  expectShape("linearSampleTokens", "uniforms", uniforms, [T, N])
  expectDtype("linearSampleTokens", "uniforms", uniforms, "f32")
  const blocks = vocabularyBlocks(run.device, weight, T, softcap)
  let scores: Tensor | undefined
  for (const { part, block } of blocks) {
    scores = logSumExpBlock(run, linear(run, x, part), block, temperature, scores)
  }
  const [ids, probs, left] = [run.empty([T, N], "u32"), run.empty([T, N]), run.empty([T, N])]
  for (const { part, block } of blocks) {
    const buffers = { logits: linear(run, x, part), scores: scores!, uniforms, left, ids, probs }
    run.dispatch(sample_tokens, buffers, { V: part.shape[0], N, ...block, temperature }, [T])
  }
  return { ids, probs }
}

/**
 * Makes a teacher's targets of draws, each token once: the other slots of one that was drawn again are unused.
 *
 * @param draws of `linearSampleTokens`, every row of ids rising
 * @param as    "renorm": the probabilities of the tokens drawn, as Gemma 3 was distilled (arXiv:2503.19786, section 2.2), which
 *              favours likely tokens; "count": the share of the draws that fell on each, which is right on average
 */
export function sampleTargets(run: Run, { ids, probs }: SparseTargets, as: "renorm" | "count"): SparseTargets {
  const [T, N] = ids.shape
  if (ids.shape.length !== 2 || T === undefined || N === undefined) {
    throw new RangeError(`sampleTargets: ids is ${format(ids.shape)}, expected [T, N]`)
  }
  expectDtype("sampleTargets", "ids", ids, "u32")
  expectShape("sampleTargets", "probs", probs, ids.shape)
  const weights = run.empty(ids.shape)
  const params = { n: sizeOf(ids.shape), N, count: as === "count" ? 1 : 0 }
  run.dispatch(sample_targets, { ids, probs, weights }, params, fold(Math.ceil(params.n / 64)))
  return { ids, probs: weights }
}
