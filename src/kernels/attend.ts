import type { Run } from "./run.ts"
import { attend as attendKernel, cache_write } from "./shaders.ts"
import { expectShape, heads } from "./shape.ts"
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
  const { window, scale, softcap } = options
  const y = run.empty([T, H, D])
  const params = { T, H, G, D4: D / 4, window, capacity, scale, softcap }
  run.dispatch(attendKernel, { q, k: cache.k, v: cache.v, cursor, y }, params, [Math.ceil((T * H) / G / 4), G])
  return y
}
