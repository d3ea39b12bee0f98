import type { Run } from "./run.ts"
import { top_k, top_k_sort } from "./shaders.ts"
import { expectShape, fold } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

/** The most that is kept of a row. */
export const MAX_TOP_K = 256

/** The largest logits of each row, and whose they are. */
export interface Largest {
  /** `[T, k]` */
  readonly values: Tensor
  /** `[T, k]`, u32 */
  readonly ids: Tensor
}

/** Refuses a k that cannot be had of V tokens. */
export function expectTopK(op: string, k: number, V: number): void {
  const most = Math.min(MAX_TOP_K, V)
  if (!(Number.isInteger(k) && k >= 1 && k <= most)) throw new RangeError(`${op}: k is ${k}, expected 1 to ${most}`)
}

/**
 * The k largest logits of each row, the largest first, the lower id among equals.
 *
 * @param logits `[T, V]`
 */
export function topK(run: Run, logits: Tensor, k: number): Largest {
  const [T, V] = logits.shape
  if (logits.shape.length !== 2 || T === undefined || V === undefined) {
    throw new RangeError(`topK: logits is ${format(logits.shape)}, expected [T, V]`)
  }
  expectTopK("topK", k, V)
  return sortTopK(run, topKBlock(run, logits, k, 0), null)
}

/**
 * The k largest logits over the blocks of the vocabulary up to this one, in any order. They come in order.
 *
 * @param logits `[T, columns]`
 * @param first  the token of the first column
 * @param before what the blocks before gave, which is updated in place; none before the first
 */
export function topKBlock(run: Run, logits: Tensor, k: number, first: number, before?: Largest): Largest {
  const [T, V] = logits.shape as [number, number]
  const largest = before ?? { values: run.empty([T, k]), ids: run.empty([T, k], "u32") }
  run.dispatch(top_k, { logits, ...largest }, { V, K: k, first }, [T])
  return largest
}

/**
 * The same after the last block, the largest first, the lower id among equals.
 *
 * @param softcap values become `softcap * tanh(values / softcap)`; null for none
 */
export function sortTopK(run: Run, { values, ids }: Largest, softcap: number | null): Largest {
  const [T, K] = values.shape as [number, number]
  expectShape("sortTopK", "ids", ids, [T, K])
  const sorted = { values: run.empty([T, K]), ids: run.empty([T, K], "u32") }
  const buffers = { values, ids, sorted_values: sorted.values, sorted_ids: sorted.ids }
  run.dispatch(top_k_sort, buffers, { n: T * K, K, cap: softcap ?? 0 }, fold(Math.ceil((T * K) / 64)))
  return sorted
}
