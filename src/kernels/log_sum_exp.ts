import type { Block } from "./cross_entropy.ts"
import type { Run } from "./run.ts"
import { log_sum_exp as kernel } from "./shaders.ts"
import type { Tensor } from "./tensor.ts"

/**
 * `log(sum_v exp(softcap(logits[t, v]) / temperature))` as its two parts, over the blocks of the vocabulary up to this one.
 * They come in order.
 *
 * @param logits `[T, columns]`
 * @param before what the blocks before gave, which is updated in place; none before the first
 * @returns      `[T, 2]`: the largest `softcap(logits)`, and the sum of exponentials relative to it
 */
export function logSumExpBlock(run: Run, logits: Tensor, block: Block, temperature: number, before?: Tensor): Tensor {
  const [T, V] = logits.shape as [number, number]
  const scores = before ?? run.empty([T, 2])
  run.dispatch(kernel, { logits, scores }, { V, ...block, temperature }, [T])
  return scores
}
