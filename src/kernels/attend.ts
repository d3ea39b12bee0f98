import type { Run } from "./run.ts"
import {
  attend_backward_delta,
  attend_backward_key,
  attend_backward_query,
  attend_combine,
  attend_subgroup,
  attend as attendKernel,
  cache_write,
} from "./shaders.ts"
import { expectDtype, expectShape, heads } from "./shape.ts"
import { sharesLoads } from "./subgroups.ts"
import type { Tensor } from "./tensor.ts"

/** Keys and values of one layer: position s lies in slot `s % capacity`. */
export interface KvCache {
  /** `[capacity, G, D]`, after norm and rotation. */
  readonly k: Tensor
  /** `[capacity, G, D]`. */
  readonly v: Tensor
}

export interface AttendOptions {
  /** How many keys a query sees, itself included; 0 for all. */
  readonly window: number
  readonly scale: number
  /** Scores become `softcap * tanh(score / softcap)`; 0 for no cap. */
  readonly softcap: number
  /**
   * `[T]`, u32: the first position that each query may see, for documents that lie packed in one sequence and must not
   * see each other. At most the query's own position, never decreasing. Without it, all begin at 0.
   */
  readonly starts?: Tensor
}

/** The widest head that attend() takes. */
export const MAX_HEAD_DIM = 256

/**
 * Puts the keys and values of positions `cursor[0] + t` into the cache.
 *
 * @param k `[T, G, D]`
 * @param v `[T, G, D]`
 */
export function cacheWrite(run: Run, k: Tensor, v: Tensor, cache: KvCache, cursor: Tensor): void {
  const [T, G, D] = heads("cacheWrite", "k", k)
  expectShape("cacheWrite", "v", v, [T, G, D])
  const capacity = cache.k.shape[0]!
  expectShape("cacheWrite", "cache", cache.k, [capacity, G, D])
  if (T > capacity) throw new RangeError(`cacheWrite: T is ${T}, expected at most the capacity ${capacity}`)
  const row4 = (G * D) / 4
  const buffers = { k, v, cursor, k_cache: cache.k, v_cache: cache.v }
  run.dispatch(cache_write, buffers, { row4, capacity }, [Math.ceil(row4 / 64), T])
}

/**
 * Causal grouped-query attention of the queries at positions `cursor[0] + t` over the cached positions up to their own.
 * The cache must hold what the window reaches: capacity >= window - 1 + T, or all positions where window is 0.
 * On a tape the position must be 0, and slots for the T positions are enough.
 *
 * @param q `[T, H, D]`, D at most 256
 * @returns `[T, H, D]`
 */
export function attend(run: Run, q: Tensor, cache: KvCache, cursor: Tensor, options: AttendOptions): Tensor {
  const [T, H, D] = heads("attend", "q", q)
  const [capacity, G] = heads("attend", "k", cache.k)
  expectShape("attend", "k", cache.k, [capacity, G, D])
  expectShape("attend", "v", cache.v, [capacity, G, D])
  if (D > MAX_HEAD_DIM) throw new RangeError(`attend: D is ${D}, expected at most ${MAX_HEAD_DIM}`)
  if (H % G !== 0) throw new RangeError(`attend: H is ${H}, expected a multiple of G = ${G}`)
  const { window, scale, softcap, starts } = options
  if (starts) {
    expectShape("attend", "starts", starts, [T])
    expectDtype("attend", "starts", starts, "u32")
  }
  const params = { T, H, G, D4: D / 4, window, capacity, packed: starts ? 1 : 0, scale, softcap }
  const inputs = { q, k: cache.k, v: cache.v, cursor, starts: starts ?? cursor }
  const { y, lse } = attendForward(run, params, inputs)
  const buffers = { ...inputs, y, lse }
  run.tape?.record(y, (dy) => {
    const { dq, dk, dv } = attendBackward(run, params, { ...buffers, dy })
    return [
      [q, dq],
      [cache.k, dk],
      [cache.v, dv],
    ]
  })
  return y
}

type Params = Readonly<Record<keyof typeof attend_backward_key.params, number>>
type Inputs = "q" | "k" | "v" | "cursor" | "starts"
interface Result {
  /** `[T, H, D]` */
  readonly y: Tensor
  /** `[T, H]`, the logarithms of the sums that the weights were divided by. */
  readonly lse: Tensor
}

/** Keys in a block of attend.wgsl. */
const BLOCK = 256

function attendForward(run: Run, params: Params, inputs: Readonly<Record<Inputs, Tensor>>): Result {
  const { T, H, G, D4, window, capacity } = params
  const rows = (T * H) / G
  const keys = Math.min(window || capacity, capacity) // that a query may see
  const result = { y: run.empty([T, H, D4 * 4]), lse: run.empty([T, H]) }
  if (T > 1 && rows > 4 && sharesLoads(run, 8 * T * H * D4 * keys)) {
    run.dispatch(attend_subgroup, { ...inputs, ...result }, params, [Math.ceil(rows / 16), G])
    return result
  }
  const parts = T === 1 ? partsOf(run, keys) : 1
  const workgroups = [Math.ceil(rows / 4), G, parts] as const
  if (parts === 1) {
    run.dispatch(attendKernel, { ...inputs, ...result }, { ...params, parts }, workgroups)
    return result
  }
  const partial = { y: run.empty([parts, T, H, D4 * 4]), lse: run.empty([parts, T, H]) }
  run.dispatch(attendKernel, { ...inputs, ...partial }, { ...params, parts }, workgroups)
  const combined = { part: partial.y, part_lse: partial.lse, ...result }
  run.dispatch(attend_combine, combined, { parts, rows: T * H, D4 }, [T * H])
  return result
}

/** A token that may see at most so many keys takes one dispatch, as local layers do; to combine parts takes another. */
const FEW = 1024

/**
 * Into how many parts the keys that a token alone may see are divided: it is a workgroup per kv head otherwise. A part without a
 * key costs a CPU 10 us, and has no more cores to fill.
 */
function partsOf({ device }: Run, keys: number): number {
  return keys <= FEW ? 1 : Math.min(device.software ? 8 : 32, Math.ceil(keys / BLOCK))
}

/** Gradients from position 0: dq `[T, H, D]`, dk and dv `[capacity, G, D]`, 0 in slots that hold no position. */
function attendBackward(
  run: Run,
  params: Params,
  { q, k, v, starts, y, lse, dy }: Readonly<Record<Exclude<Inputs, "cursor"> | keyof Result | "dy", Tensor>>,
): { dq: Tensor; dk: Tensor; dv: Tensor } {
  const { T, H, G, D4, capacity } = params
  if (capacity < T) throw new RangeError(`attend: capacity is ${capacity}, expected at least T = ${T} for gradients`)
  const stats = run.empty([T, H, 2])
  run.dispatch(attend_backward_delta, { y, dy, lse, stats }, { rows: T * H, D4 }, [Math.ceil((T * H) / 64)])
  const dq = run.empty(q.shape)
  const buffers = { q, k, v, dy, stats, starts }
  run.dispatch(attend_backward_query, { ...buffers, dq }, params, [Math.ceil((T * H) / G / 4), G])
  const [dk, dv] = [run.empty(k.shape), run.empty(v.shape)]
  run.dispatch(attend_backward_key, { ...buffers, dk, dv }, params, [Math.ceil(capacity / 4), G])
  return { dq, dk, dv }
}
