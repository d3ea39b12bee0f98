import { SIXTEENTHS } from "../model/dtype.ts"

/** Columns that share a scale and a zero. */
export const BLOCK = 32
/** The greatest code. */
export const MOST = 15
/** Ends that are tried of a block's range, either way: FIRST of it inwards, then STEP more each time. */
const ENDS = 4
const FIRST = -0.02
const STEP = 0.04
/** Ranges below it are nothing. */
const LEAST = 1e-30

/** What codes of a block are relative to: a weight is scale * (code - sixteenths / 16). */
export interface Grid {
  /** A float32 whose last eight bits are 0. */
  readonly scale: number
  /** 0 to 255 */
  readonly sixteenths: number
}

/** A grid, and how much of a block's weighted sum of squares it explains. */
interface Tried {
  readonly scale: number
  readonly zero: number
  readonly explained: number
}

const NOTHING: Tried = { scale: 0, zero: 0, explained: 0 }
const WORD = new Uint32Array(1)
const FLOAT = new Float32Array(WORD.buffer)

/**
 * The scale and zero that leave the least of a block's weights, each error's square counted as its column counts: as
 * wgsl/quantize_q4.wgsl finds them, which says how.
 *
 * @param weights `[32]`
 * @param counts  `[32]`
 */
export function bestGrid(weights: Float64Array, counts: Float64Array): Grid {
  let [low, high, countsSum, weightsSum] = [0, 0, 0, 0]
  for (let i = 0; i < BLOCK; i++) {
    low = Math.min(low, weights[i]!)
    high = Math.max(high, weights[i]!)
    countsSum += counts[i]!
    weightsSum += counts[i]! * weights[i]!
  }
  const range = high - low
  let best = NOTHING
  for (let trial = 0; range > LEAST && trial < ENDS * ENDS; trial++) {
    const from = low + range * (FIRST + STEP * (trial % ENDS))
    const to = high - range * (FIRST + STEP * Math.floor(trial / ENDS))
    const scale = (to - from) / MOST
    const first = fitted(weights, counts, countsSum, weightsSum, { scale, zero: -from / scale, explained: 0 })
    if (first.explained > best.explained) best = first
    const second = fitted(weights, counts, countsSum, weightsSum, first)
    if (second.explained > best.explained) best = second
  }
  FLOAT[0] = best.scale
  WORD[0] = WORD[0]! & ~255 // where the GPU has the zero
  return { scale: FLOAT[0]!, sixteenths: best.zero * SIXTEENTHS }
}

/** The scale and zero that fit the codes of a grid best. */
function fitted(
  weights: Float64Array,
  counts: Float64Array,
  countsSum: number,
  weightsSum: number,
  grid: Tried,
): Tried {
  const perUnit = 1 / grid.scale
  let [q1, q2, qw] = [0, 0, 0]
  for (let i = 0; i < BLOCK; i++) {
    const code = Math.min(MOST, Math.max(0, Math.floor(weights[i]! * perUnit + grid.zero + 0.5)))
    const counted = counts[i]! * code
    q1 += counted
    q2 += counted * code
    qw += counted * weights[i]!
  }
  const together = qw - weightsSum * (q1 / countsSum)
  const apart = q2 - q1 * (q1 / countsSum)
  const wanted = together > 0 ? (q1 - weightsSum * (apart / together)) / countsSum : grid.zero
  const zero = Math.min(255, Math.max(0, Math.round(SIXTEENTHS * wanted))) / SIXTEENTHS
  const wv = qw - zero * weightsSum
  const ofZero = zero * zero * countsSum
  const vv = q2 - 2 * zero * q1 + ofZero
  if (!(wv > 0 && vv > 1e-5 * (q2 + ofZero))) return { ...grid, explained: 0 } // what is left is rounding
  return { scale: wv / vv, zero, explained: wv * (wv / vv) }
}
