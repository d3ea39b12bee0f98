import { truncatedSvd } from "./decompose.ts"
import { expectRank, expectScale, expectWeight, type Factors, kaimingUniform, transposedColumns } from "./lora_init.ts"
import { seedFor } from "./random.ts"

/** The matrices of a LaMDA module, `y = W x + scale * B S A x - anchor A x` (arXiv:2406.12832), in float64. */
export interface LamdaFactors {
  /** `[rank, in]`, never trained */
  readonly a: Float64Array
  /** `[rank, rank]`, always trained */
  readonly s: Float64Array
  /** `[out, rank]`, frozen column by column */
  readonly b: Float64Array
  /** `[out, rank]`: what the base gives up is `anchor A`, so that training starts from the model as it was. */
  readonly anchor?: Float64Array
}

/**
 * - `svd-sigma`: A and B are the leading singular vectors of W, S their values, which the base gives up
 * - `svd-zero`: the same vectors with S = 0; the base stays
 * - `released`: as in the authors' code, A as in LoRA, B = 0 and S as a new Linear layer
 */
export type LamdaInit = "svd-sigma" | "svd-zero" | "released"

export interface LamdaInitOptions {
  /** `[out, in]` of the base weight */
  readonly shape: readonly [number, number]
  readonly rank: number
  /** `alpha / rank`, or what takes its place */
  readonly scale: number
  readonly seed: number
  /** The base weight, for the two that decompose it. */
  readonly weight?: Float32Array | Float64Array
}

/** Initial matrices of a LaMDA module. The same seed gives the same numbers. */
export function lamdaFactors(init: LamdaInit, options: LamdaInitOptions): LamdaFactors {
  const { shape, rank, scale, seed } = options
  expectRank("lamdaFactors", rank, init === "released" ? Number.POSITIVE_INFINITY : Math.min(...shape))
  expectScale("lamdaFactors", scale)
  if (init === "released") {
    const s = kaimingUniform([rank, rank], seedFor(seed, "s"))
    return { a: kaimingUniform([rank, shape[1]], seed), s, b: new Float64Array(shape[0] * rank) }
  }
  const { u, s: values, v } = truncatedSvd(expectWeight("lamdaFactors", options), shape, rank, { seed })
  const a = transposedColumns(v, rank)
  const s = new Float64Array(rank * rank)
  if (init === "svd-zero") return { a, s, b: u }
  for (let k = 0; k < rank; k++) s[k * rank + k] = values[k]! / scale
  return { a, s, b: u, anchor: u.map((value, i) => value * values[i % rank]!) }
}

export interface FreezingSchedule {
  readonly rank: number
  /** The share of the run after which all of B is frozen. */
  readonly eta: number
  /** Optimiser steps of the whole run. */
  readonly steps: number
}

/** Rounding must not keep a column for a step longer: 0.1 * 48 is above 4.8. */
const SLACK = 1e-9

/**
 * How many columns of B no longer learn at a step, counted from 0: the leading ones, as they have the largest singular
 * values. The authors' code leaves out the factor `rank` here, so that it never freezes more than a few.
 */
export function frozenColumns(step: number, { rank, eta, steps }: FreezingSchedule): number {
  if (!(eta > 0 && eta <= 1)) throw new RangeError(`frozenColumns: eta is ${eta}, expected a number of (0, 1]`)
  if (!(Number.isInteger(steps) && steps >= 1 && step >= 0)) {
    throw new RangeError(`frozenColumns: step is ${step} of ${steps}, expected 0 <= step of an integer of at least 1`)
  }
  return Math.min(rank, Math.floor((rank * step) / (eta * steps) + SLACK))
}

/**
 * A trained module as plain LoRA of the same rank on the untouched base: A stays, `B <- (scale * B S - anchor) / newScale`.
 */
export function lamdaToLora({ a, s, b, anchor }: LamdaFactors, scale: number, newScale = scale): Factors {
  const rank = Math.sqrt(s.length)
  const plain = b.map((_, i) => {
    const row = i - (i % rank)
    let sum = 0
    for (let k = 0; k < rank; k++) sum += b[row + k]! * s[k * rank + (i % rank)]!
    return (scale * sum - (anchor ? anchor[i]! : 0)) / newScale
  })
  return { a: a.slice(), b: plain }
}

type Shapes = Iterable<readonly [out: number, width: number]>

/** Parameters that LoRA trains in modules of these shapes `[out, in]`. */
export function loraParameters(shapes: Shapes, rank: number): number {
  let sum = 0
  for (const [out, width] of shapes) sum += rank * (out + width)
  return sum
}

/** Parameters that LaMDA trains on average over a run: all of S, and B while its columns freeze one after another. */
export function averageUpdates(shapes: Shapes, rank: number, eta: number): number {
  let sum = 0
  for (const [out] of shapes) sum += rank * rank + (eta / 2) * rank * out
  return sum
}

/** Ranks that one module may be given, and what they must average. */
export interface RankBudget {
  readonly rank: number
  readonly low: number
  readonly high: number
}

/**
 * Ranks for LaMDA++: a module's score is the share of its energy (the squared singular values, as far as the highest rank
 * reaches) that the lowest rank would leave out. All get the lowest, then in order of their scores the highest, as long as
 * the mean allows; one may be given what remains between. Equal scores keep the order of `spectra`.
 *
 * @param spectra the singular values of each module, largest first: `high` of them, or all where there are fewer
 * @returns a rank for each module, fit for PEFT's `rank_pattern`; their mean is `rank` exactly
 */
export function allocateRanks(
  spectra: ReadonlyMap<string, ArrayLike<number>>,
  budget: RankBudget,
): Map<string, number> {
  const { rank, low, high } = budget
  if (![low, rank, high].every(Number.isInteger) || !(1 <= low && low <= rank && rank <= high)) {
    const is = `low, rank, high are ${low}, ${rank}, ${high}`
    throw new RangeError(`allocateRanks: ${is}, expected integers 1 <= low <= rank <= high`)
  }
  const scored = [...spectra].map(([path, values]) => ({ path, ...score(path, values, low, high) }))
  const ranks = new Map(scored.map(({ path }) => [path, low]))
  let left = (rank - low) * scored.length
  for (const { path, most } of scored.toSorted((x, y) => y.score - x.score)) {
    const more = Math.min(most - low, left)
    ranks.set(path, low + more)
    left -= more
  }
  if (left > 0)
    throw new RangeError(`allocateRanks: mean rank is ${rank}, expected one that the matrices are large enough for`)
  return ranks
}

function score(path: string, values: ArrayLike<number>, low: number, high: number) {
  const most = Math.min(high, values.length)
  if (most < low) {
    throw new RangeError(`allocateRanks: ${path} has ${values.length} singular values, expected at least low = ${low}`)
  }
  let kept = 0
  let all = 0
  for (let k = 0; k < most; k++) {
    if (!(values[k]! >= 0 && values[k]! <= (values[k - 1] ?? Number.MAX_VALUE))) {
      throw new RangeError(`allocateRanks: ${path}[${k}] is ${values[k]}, expected singular values, largest first`)
    }
    all += values[k]! ** 2
    if (k < low) kept += values[k]! ** 2
  }
  return { most, score: all === 0 ? 0 : (all - kept) / all }
}
