import type { Block } from "./cross_entropy.ts"
import type { Run } from "./run.ts"
import { drop_logits, gather_logits, token_probs } from "./shaders.ts"
import { fold } from "./shape.ts"
import { sizeOf, type Tensor } from "./tensor.ts"

/**
 * `values[t, k] = softcap(logits[t, ids[t, k]])`, over the blocks of the vocabulary up to this one. They come in order.
 *
 * @param logits `[T, columns]`
 * @param ids    `[T, K]`, u32, each below V
 * @param before what the blocks before gave, which is updated in place; none before the first
 * @returns      `[T, K]`
 */
export function gatherLogitsBlock(run: Run, logits: Tensor, ids: Tensor, block: Block, before?: Tensor): Tensor {
  const values = before ?? run.empty(ids.shape)
  const params = { n: sizeOf(ids.shape), V: logits.shape[1]!, K: ids.shape[1]!, ...block }
  run.dispatch(gather_logits, { logits, ids, values }, params, fold(Math.ceil(params.n / 64)))
  return values
}

/**
 * Takes the logits of ids whose probability is not 0 out of a block, in place, so that `logSumExpBlock` leaves them out.
 *
 * @param logits `[T, columns]`
 * @param ids    `[T, K]`, u32
 * @param probs  `[T, K]`
 */
export function dropLogitsBlock(run: Run, logits: Tensor, ids: Tensor, probs: Tensor, { first }: Block): void {
  const params = { n: sizeOf(ids.shape), V: logits.shape[1]!, K: ids.shape[1]!, first }
  run.dispatch(drop_logits, { ids, probs, logits }, params, fold(Math.ceil(params.n / 64)))
}

/**
 * Probabilities of logits under the softmax over all.
 *
 * @param values `[T, K]`, capped
 * @param scores `[T, 2]`, of `logSumExpBlock` at the same temperature, after the last block
 * @returns      `[T, K]`
 */
export function tokenProbs(run: Run, values: Tensor, scores: Tensor, temperature: number): Tensor {
  const probs = run.empty(values.shape)
  const params = { n: sizeOf(values.shape), K: values.shape[1]!, temperature }
  run.dispatch(token_probs, { values, scores, probs }, params, fold(Math.ceil(params.n / 64)))
  return probs
}
