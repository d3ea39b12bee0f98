import { expectCursors } from "./cursors.ts"
import type { Run } from "./run.ts"
import {
  recurrence as kernel,
  recurrence_backward,
  recurrence_chunks,
  recurrence_starts,
  recurrence_step,
} from "./shaders.ts"
import { expectDtype, expectShape, fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/** What a recurrence goes on from, and leaves for what follows. */
export interface RecurrentState {
  /**
   * `[C]`: h of the last position so far, read and written. Taken as 0 where a sequence begins. Or `[B, C]`, of B sequences,
   * each of which has one token.
   */
  readonly h: Tensor
  /**
   * `[2]`, u32: the first token's position. A sequence begins where it is 0. Of B sequences `[B or more, 2]`; NO_POSITION where
   * there is no token: that row's state stays, and its result is undefined.
   */
  readonly cursor: Tensor
}

/** How many positions an invocation goes through: the shaders' CHUNK. */
const CHUNK = 64

/**
 * `h[t] = a[t] * h[t - 1] + b[t]`, channel by channel. Without a state h begins with 0; a state is refused on a tape, as
 * no gradient goes back into it.
 *
 * Parallel over chunks of positions: two neighbouring ones compose to one that scales by the product of theirs (Martin &
 * Cundy, arXiv:1709.04057). First what each chunk does, then the h before each, then each chunk from there.
 *
 * @param a `[T, C]`
 * @param b `[T, C]`
 * @returns `[T, C]`
 */
export function recurrence(run: Run, a: Tensor, b: Tensor, state?: RecurrentState): Tensor {
  const [T, C] = rows("recurrence", "a", a)
  expectShape("recurrence", "b", b, [T, C])
  if (state) expectState(state, T, C)
  if (state && run.tape) throw new RangeError("recurrence: state is given, expected none where gradients are recorded")
  if (state && (T === 1 || state.h.shape.length === 2)) return step(run, a, b, state)
  const h = scan(run, a, b, { reverse: false, state })
  run.tape?.record(h, (dh) => {
    const { da, db } = recurrenceBackward(run, a, h, dh)
    return [
      [a, da],
      [b, db],
    ]
  })
  return h
}

/**
 * Gradients of `recurrence` without a state: `db[t] = dh[t] + a[t + 1] * db[t + 1]`, the recurrence the other way round, and
 * `da[t] = db[t] * h[t - 1]`.
 *
 * @param a  `[T, C]`
 * @param h  `[T, C]`, the result
 * @param dh `[T, C]`
 * @returns  da and db `[T, C]`
 */
export function recurrenceBackward(run: Run, a: Tensor, h: Tensor, dh: Tensor): { da: Tensor; db: Tensor } {
  const [T, C] = rows("recurrenceBackward", "a", a)
  expectShape("recurrenceBackward", "h", h, [T, C])
  expectShape("recurrenceBackward", "dh", dh, [T, C])
  const db = scan(run, a, dh, { reverse: true })
  const da = run.empty([T, C])
  const n4 = (T * C) / 4
  run.dispatch(recurrence_backward, { h, db, da }, { n4, C4: C / 4 }, fold(Math.ceil(n4 / 64)))
  return { da, db }
}

/** A token for each state. */
function step(run: Run, a: Tensor, b: Tensor, { h: state, cursor }: RecurrentState): Tensor {
  const [B, C] = a.shape as [number, number]
  const h = run.empty([B, C])
  run.dispatch(recurrence_step, { a, b, cursor, state, h }, { C4: C / 4 }, [Math.ceil(C / 4 / 64), B])
  return h
}

interface Scan {
  /** From the last position to the first, with the a of the position after each. */
  readonly reverse: boolean
  readonly state?: RecurrentState | undefined
}

function scan(run: Run, a: Tensor, b: Tensor, { reverse, state }: Scan): Tensor {
  const [T, C] = a.shape as [number, number]
  const starts = T > CHUNK ? chunkStarts(run, a, b, { reverse, state }) : a
  const h = run.empty([T, C])
  const buffers = { a, b, starts, cursor: state?.cursor ?? a, state: state?.h ?? run.empty([C]), h }
  const params = { T, C4: C / 4, reverse: reverse ? 1 : 0, stateful: state ? 1 : 0 }
  run.dispatch(kernel, buffers, params, [Math.ceil(C / 4 / 64), Math.ceil(T / CHUNK)])
  return h
}

/** h before each chunk, `[chunks, C]`. */
function chunkStarts(run: Run, a: Tensor, b: Tensor, { reverse, state }: Scan): Tensor {
  const [T, C] = a.shape as [number, number]
  const chunks = Math.ceil(T / CHUNK)
  const [products, ends, starts] = [run.empty([chunks, C]), run.empty([chunks, C]), run.empty([chunks, C])]
  const groups = Math.ceil(C / 4 / 64)
  const params = { T, C4: C / 4, reverse: reverse ? 1 : 0 }
  run.dispatch(recurrence_chunks, { a, b, products, ends }, params, [groups, chunks])
  const buffers = { products, ends, cursor: state?.cursor ?? a, state: state?.h ?? a, starts }
  run.dispatch(recurrence_starts, buffers, { chunks, C4: C / 4, stateful: state ? 1 : 0 }, [groups])
  return starts
}

function expectState({ h, cursor }: RecurrentState, T: number, C: number): void {
  const batch = h.shape.length === 2
  expectShape("recurrence", "state", h, batch ? [T, C] : [C])
  expectDtype("recurrence", "state", h, "f32")
  if (batch) expectCursors("recurrence", cursor, T)
  else expectDtype("recurrence", "cursor", cursor, "u32")
}
