import { type AttendOptions, expectCache, type KvCache, MAX_HEAD_DIM } from "./attend.ts"
import type { Run } from "./run.ts"
import { attention_weights as kernel } from "./shaders.ts"
import { heads } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

export interface AttentionWeightsOptions extends Omit<AttendOptions, "starts"> {
  /** Which of the H query heads. */
  readonly head: number
  /** Columns: positions from 0 on. Must be all that the queries see. */
  readonly S: number
  /** The first row of q that is asked for. */
  readonly from: number
  /** How many. */
  readonly rows: number
}

/**
 * What `attend` multiplies values with, for one head and some of its queries: the softmax weights of the cached positions, 0
 * for those that a query does not see. What it sees must be in the cache still, as for `attend`.
 *
 * @param q      `[T, H, D]`, D at most 256
 * @param cache  of one sequence
 * @param cursor `[2]`, u32: the position of q's first row
 * @returns      `[rows, S]`
 * @throws {RangeError} for shapes that do not fit, a head that there is not, or rows outside q
 */
export function attentionWeights(
  run: Run,
  q: Tensor,
  cache: KvCache,
  cursor: Tensor,
  { head, S, from, rows, window, scale, softcap }: AttentionWeightsOptions,
): Tensor {
  const [T, H, D] = heads("attentionWeights", "q", q)
  const G = cache.k.shape.at(-2) ?? 0
  const { batch, capacity } = expectCache("attentionWeights", run, cache, { T, G, D, cursor })
  if (batch) throw new RangeError(`attentionWeights: cache is of ${batch} sequences, expected one`)
  if (D > MAX_HEAD_DIM) throw new RangeError(`attentionWeights: D is ${D}, expected at most ${MAX_HEAD_DIM}`)
  if (H % G !== 0) throw new RangeError(`attentionWeights: H is ${H}, expected a multiple of G = ${G}`)
  if (!(Number.isInteger(head) && head >= 0 && head < H)) {
    throw new RangeError(`attentionWeights: head is ${head}, expected 0 to ${H - 1}`)
  }
  if (!(from >= 0 && rows >= 1 && from + rows <= T)) {
    throw new RangeError(`attentionWeights: rows are ${from} to ${from + rows - 1}, expected some of 0 to ${T - 1}`)
  }
  const weights = run.empty([rows, S])
  const params = { S, H, G, D4: D / 4, head, first: from, window, capacity, scale, softcap }
  run.dispatch(kernel, { q, k: cache.k, cursor, weights }, params, [rows])
  return weights
}
