import { expectCursors } from "./cursors.ts"
import type { Run } from "./run.ts"
import {
  attend_backward_delta,
  attend_backward_key,
  attend_backward_query,
  attend_combine,
  attend_few_subgroup,
  attend_subgroup,
  attend as attendKernel,
  cache_write,
} from "./shaders.ts"
import { expectDtype, expectShape, heads } from "./shape.ts"
import { sharesFew, sharesLoads } from "./subgroups.ts"
import { format, type Tensor, view } from "./tensor.ts"

/**
 * Keys and values of one layer: position s lies in slot `s % capacity`. Of one sequence, `[capacity, G, D]`, whose tokens stand
 * at `cursor[0] + t`; or of B sequences, `[B, capacity, G, D]`, of which each has one token: row b is sequence b's, at position
 * `cursor[b, 0]`, or no token where that is NO_POSITION. In f32, or in eight bits, row8: each head with a scale of its own.
 */
export interface KvCache {
  /** After norm and rotation. */
  readonly k: Tensor
  readonly v: Tensor
}

/**
 * Refuses a cache that is not of these heads and, where it is of several sequences, of one for each of the T tokens; and one in
 * eight bits on a tape, as rounding has no gradient.
 *
 * @returns how many sequences it is of, 0 where of one whose tokens follow one another, and its slots for each
 */
export function expectCache(
  op: string,
  run: Run,
  { k, v }: KvCache,
  { T, G, D, cursor }: { T: number; G: number; D: number; cursor: Tensor },
): { batch: number; capacity: number } {
  const batch = k.shape.length === 4 ? T : 0
  const capacity = k.shape[batch ? 1 : 0] ?? 0
  const shape = batch ? [T, capacity, G, D] : [capacity, G, D]
  expectShape(op, "k", k, shape)
  expectShape(op, "v", v, shape)
  for (const [name, x] of Object.entries({ k, v })) {
    if (run.tape || x.dtype !== "row8") expectDtype(op, name, x, "f32")
  }
  if (batch) expectCursors(op, cursor, T)
  return { batch, capacity }
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
 * Puts the keys and values of one sequence's positions `cursor[0] + t` into the cache.
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
 * Causal grouped-query attention of the queries at their tokens' positions over the cached positions up to their own.
 * The cache must hold what the window reaches: capacity >= window - 1 + T, or all positions where window is 0.
 * On a tape the position must be 0, and slots for the T positions are enough.
 *
 * @param q      `[T, H, D]`, D at most 256; T = B where the cache is of B sequences, and each row is what it would be alone
 * @param cursor `[2]`, u32, or `[B or more, 2]`, as KvCache says
 * @returns      `[T, H, D]`, undefined in rows without a token
 * @throws {RangeError} for shapes that do not fit, or where gradients or documents in one sequence are asked of several sequences
 */
export function attend(run: Run, q: Tensor, cache: KvCache, cursor: Tensor, options: AttendOptions): Tensor {
  const { params, inputs } = recorded(run, q, cache, cursor, options)
  const { y, lse } = combined(run, attendForward(run, params, inputs, FEW))
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

/** What queries get of parts of the keys: `y[p]` is the mean of the values in part p, of which `exp(lse[p])` sums the weights. */
export interface AttendedParts {
  /** `[parts, T, H, D]`; anything in a part without keys */
  readonly y: Tensor
  /** `[parts, T, H]`; below -1e38 for a part without keys */
  readonly lse: Tensor
}

/**
 * {@link attend} without its end, for `linearOfParts`, which puts the parts together: so a token's keys are divided among workgroups
 * however few they are. No gradient is recorded.
 */
export function attendParts(
  run: Run,
  q: Tensor,
  cache: KvCache,
  cursor: Tensor,
  options: AttendOptions,
): AttendedParts {
  const { params, inputs } = recorded(run, q, cache, cursor, options)
  return attendForward(run, params, inputs, BLOCK)
}

function recorded(run: Run, q: Tensor, cache: KvCache, cursor: Tensor, options: AttendOptions) {
  const [T, H, D] = heads("attend", "q", q)
  const G = cache.k.shape.at(-2) ?? 0
  const { batch, capacity } = expectCache("attend", run, cache, { T, G, D, cursor })
  if (D > MAX_HEAD_DIM) throw new RangeError(`attend: D is ${D}, expected at most ${MAX_HEAD_DIM}`)
  if (H % G !== 0) throw new RangeError(`attend: H is ${H}, expected a multiple of G = ${G}`)
  const { window, scale, softcap, starts } = options
  if (batch && (starts || run.tape)) {
    const asked = starts ? "documents in one" : "gradients"
    throw new RangeError(`attend: k is ${format(cache.k.shape)}, expected that of one sequence for ${asked}`)
  }
  if (starts) {
    expectShape("attend", "starts", starts, [T])
    expectDtype("attend", "starts", starts, "u32")
  }
  const params: Params = {
    B: batch || 1,
    T: batch ? 1 : T,
    H,
    G,
    D4: D / 4,
    window,
    capacity,
    packed: starts ? 1 : 0,
    scale,
    softcap,
  }
  return { params, inputs: { q, k: cache.k, v: cache.v, cursor, starts: starts ?? cursor } }
}

type Params = Readonly<Record<Exclude<keyof typeof attendKernel.params, "parts">, number>>
type Inputs = "q" | "k" | "v" | "cursor" | "starts"
type Result = Readonly<Record<"y" | "lse", Tensor>>

/** Keys in a block of the kernels, and the fewest that a part is worth. */
const BLOCK = 256

/** Blocks that a workgroup of attend_few_subgroup.wgsl may take: what each key weighs lies in its memory. */
const MOST_BLOCKS = 4

/** @param few the most keys that a token alone sees in one part */
function attendForward(run: Run, params: Params, inputs: Readonly<Record<Inputs, Tensor>>, few: number): AttendedParts {
  const { B, T, H, G, D4, window, capacity } = params
  const rows = (T * H) / G
  const keys = Math.min(window || capacity, capacity) // that a query may see
  const results = (parts: number) => ({
    y: run.empty([parts, B * T, H, D4 * 4]),
    lse: run.empty([parts, B * T, H]),
  })
  if (T > 1 && rows > 4 && sharesLoads(run, 8 * T * H * D4 * keys, "attention")) {
    const result = results(1)
    run.dispatch(attend_subgroup, { ...inputs, ...result }, params, [Math.ceil(rows / 16), G])
    return result
  }
  const shares = sharesFew(run, "attention")
  const parts = partsOf(run, params, { few, shares })
  const result = results(parts)
  const workgroups = [Math.ceil(rows / 4), G, B * parts] as const
  run.dispatch(shares ? attend_few_subgroup : attendKernel, { ...inputs, ...result }, { ...params, parts }, workgroups)
  return result
}

/** `y` `[T, H, D]` and `lse` `[T, H]`, the logarithms of the sums that the weights were divided by. */
function combined(run: Run, { y, lse }: AttendedParts): Result {
  const [parts, T, H, D] = y.shape as [number, number, number, number]
  if (parts === 1) return { y: view(y, [T, H, D]), lse: view(lse, [T, H]) }
  const result = { y: run.empty([T, H, D]), lse: run.empty([T, H]) }
  const buffers = { part: y, part_lse: lse, ...result }
  run.dispatch(attend_combine, buffers, { parts, rows: T * H, D4: D / 4 }, [T * H])
  return result
}

/** Where parts must be put together by a dispatch of its own, a token that may see at most so many keys is without, as local layers are. */
const FEW = 1024

/**
 * Into how many parts the keys that a workgroup's four queries may see are divided. Those of a token alone would be a workgroup
 * per kv head otherwise. A part without a key costs a CPU 10 us, and has no more cores to fill.
 */
function partsOf(
  { device }: Run,
  { T, window, capacity }: Params,
  { few, shares }: { readonly few: number; readonly shares: boolean },
): number {
  const reach = Math.min(window ? window + Math.min(T, 4) - 1 : capacity, capacity)
  const blocks = Math.ceil(reach / BLOCK)
  const least = shares ? Math.ceil(blocks / MOST_BLOCKS) : 1
  if (T > 1 || reach <= few) return least
  return Math.max(least, Math.min(device.software ? 8 : 32, blocks))
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
