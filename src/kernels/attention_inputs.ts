import { cacheWrite, expectCache, type KvCache, MAX_HEAD_DIM } from "./attend.ts"
import { type RmsNormOptions, rmsNorm } from "./rms_norm.ts"
import { expectTable, rope } from "./rope.ts"
import type { Run } from "./run.ts"
import { attention_inputs as kernel } from "./shaders.ts"
import { expectShape, fold } from "./shape.ts"
import { type Tensor, view } from "./tensor.ts"

export interface AttentionInputsOptions {
  /** Query heads. */
  readonly H: number
  /** Heads of keys and of values. */
  readonly G: number
  /** Width of a head, a multiple of 4, at most 256. */
  readonly D: number
  /** Norms of the heads of queries and of keys, `[D]` each. */
  readonly norms?: ({ readonly q: Tensor; readonly k: Tensor } & RmsNormOptions) | undefined
  /** `[256 + rows, D/2, 2]`, as `ropeTables` gives it. */
  readonly table: Tensor
  /** `[2]`, u32: the position of the first token; `[T or more, 2]` where the cache is of T sequences. */
  readonly cursor: Tensor
  /** Where keys and values go; without it they are in order of the tokens. */
  readonly cache?: KvCache | undefined
}

/** q, k and v, `[T, H*D]` and twice `[T, G*D]`: in one tensor `[T, (H + 2G)*D]`, or each its own. */
export type Projections = Tensor | readonly [q: Tensor, k: Tensor, v: Tensor]

/**
 * What `attend` takes, from what the projections give: heads of queries and keys normed, where they have norms, and turned by
 * their positions, as the cache's kind says; keys and values in the cache. A dispatch per tensor of projections; on a tape, which wants
 * each its own, those of `rmsNorm`, `rope` and `cacheWrite`.
 *
 * @returns q `[T, H, D]`, undefined in rows without a token, and the cache, or keys and values of the T tokens alone `[T, G, D]`
 * @throws {RangeError} for shapes that do not fit, or more tokens than the cache has slots
 */
export function attentionInputs(
  run: Run,
  projections: Projections,
  options: AttentionInputsOptions,
): { q: Tensor; cache: KvCache } {
  const { H, G, D, norms, table, cursor } = options
  const one = "shape" in projections
  const T = (one ? projections : projections[0]).shape[0] ?? 0
  if (D % 4 !== 0 || D > MAX_HEAD_DIM) {
    throw new RangeError(`attentionInputs: D is ${D}, expected a multiple of 4 up to ${MAX_HEAD_DIM}`)
  }
  expectTable("attentionInputs", table, D)
  for (const weight of norms ? [norms.q, norms.k] : []) expectShape("attentionInputs", "norm", weight, [D])
  if (run.tape) {
    if (one) throw new TypeError("attentionInputs: q, k and v are one tensor, expected three on a tape")
    return composed(run, projections, T, options)
  }
  const cache = options.cache ?? { k: run.empty([T, G, D]), v: run.empty([T, G, D]) }
  const { batch, capacity } = expectCache("attentionInputs", run, cache, { T, G, D, cursor })
  if (!batch && T > capacity) {
    throw new RangeError(`attentionInputs: T is ${T}, expected at most the capacity ${capacity}`)
  }
  const q = run.empty([T, H, D])
  const buffers = {
    q_norm: norms?.q ?? table,
    k_norm: norms?.k ?? table,
    table,
    cursor,
    q,
    k_slots: cache.k,
    v_slots: cache.v,
  }
  const { eps, offset } = norms ?? { eps: 0, offset: 0 }
  const params = { T, G, D4: D / 4, capacity, batch: batch ? 1 : 0, eps, offset }
  for (const { x, q_heads, k_heads, v_heads } of parts(projections, H, G)) {
    const heads = q_heads + k_heads + v_heads
    expectShape("attentionInputs", "x", x, [T, heads * D])
    const groups = fold(Math.ceil((T * heads) / 8))
    const all = { ...params, q_heads, k_heads, v_heads }
    run.dispatch(kernel, { x, ...buffers }, all, groups, { NORM: norms ? 1 : 0 })
  }
  return { q, cache }
}

/** Tensors of heads, with how many of each kind they have. */
function parts(projections: Projections, H: number, G: number) {
  if ("shape" in projections) return [{ x: projections, q_heads: H, k_heads: G, v_heads: G }]
  const [q, k, v] = projections
  return [
    { x: q, q_heads: H, k_heads: 0, v_heads: 0 },
    { x: k, q_heads: 0, k_heads: G, v_heads: 0 },
    { x: v, q_heads: 0, k_heads: 0, v_heads: G },
  ]
}

function composed(
  run: Run,
  projections: readonly [q: Tensor, k: Tensor, v: Tensor],
  T: number,
  { H, G, D, norms, table, cursor, cache }: AttentionInputsOptions,
): { q: Tensor; cache: KvCache } {
  const turned = (x: Tensor, heads: number, weight?: Tensor) => {
    const rows = view(x, [T * heads, D])
    const normed = norms && weight ? rmsNorm(run, rows, weight, norms) : rows
    return rope(run, view(normed, [T, heads, D]), table, cursor)
  }
  const q = turned(projections[0], H, norms?.q)
  const k = turned(projections[1], G, norms?.k)
  const v = view(projections[2], [T, G, D])
  if (cache) cacheWrite(run, k, v, cache, cursor)
  return { q, cache: cache ?? { k, v } }
}
