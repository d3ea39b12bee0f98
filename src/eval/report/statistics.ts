import { Random, seedFor } from "../../train/random.ts"

/** What one instance adds to a mean: of a score itself and 1, of a loss over tokens their sum and their number. */
export interface Unit {
  readonly sum: number
  readonly weight: number
}

/** A 95 % interval. */
export type Interval = readonly [low: number, high: number]

/** A mean over instances. */
export interface Estimate {
  /** Instances. */
  readonly count: number
  readonly mean: number
  /** Missing where the instances tell nothing of a spread: of a single one, or of those that are all the same. */
  readonly interval?: Interval
}

/** How far one run is from another on the instances that both have. */
export interface Difference extends Estimate {
  /** How often chance alone would give a mean at least as far from 0. */
  readonly p: number
}

/** Means of resamples that an interval is made of. */
export const RESAMPLES = 2000
/** Draws of signs where there are too many to go through them all. */
export const SIGN_DRAWS = 9999
/** Differences up to which all signs are gone through. */
const EXACT = 14
const LEVEL = 0.95

/** A score as what it adds to a mean. */
export function unit(score: number): Unit {
  return { sum: score, weight: 1 }
}

/**
 * The mean over instances with its percentile bootstrap interval: the middle 95 % of the means of {@link RESAMPLES} resamples of as
 * many instances (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 13.3).
 *
 * @param name what the draws depend on beside the seed, so that an interval does not depend on what else is in a report
 * @returns    undefined without instances
 */
export function estimate(units: readonly Unit[], seed: number, name: string): Estimate | undefined {
  const count = units.length
  if (count === 0) return undefined
  const mean = ratio(units)
  const first = units[0]!.sum / units[0]!.weight
  if (units.every(({ sum, weight }) => sum / weight === first)) return { count, mean }
  return { count, mean, interval: bootstrap(units, new Random(seedFor(seed, name))) }
}

function bootstrap(units: readonly Unit[], random: Random): Interval {
  const sums = Float64Array.from(units, ({ sum }) => sum)
  const weights = Float64Array.from(units, ({ weight }) => weight)
  const means = new Float64Array(RESAMPLES)
  for (let i = 0; i < RESAMPLES; i++) {
    let [sum, weight] = [0, 0]
    for (let j = 0; j < sums.length; j++) {
      const drawn = Math.floor((random.bits() / 2 ** 32) * sums.length)
      sum += sums[drawn]!
      weight += weights[drawn]!
    }
    means[i] = sum / weight
  }
  means.sort()
  const outside = Math.floor(((RESAMPLES + 1) * (1 - LEVEL)) / 2)
  return [means[outside - 1]!, means[RESAMPLES - outside]!]
}

function ratio(units: readonly Unit[]): number {
  const total = units.reduce((all, { sum, weight }) => ({ sum: all.sum + sum, weight: all.weight + weight }))
  return total.sum / total.weight
}

/**
 * The mean of paired differences, with the interval of {@link estimate} and the p-value of {@link signFlipP}.
 *
 * @param differences the second run's score minus the first's, of each instance that both have
 */
export function difference(differences: readonly number[], seed: number, name: string): Difference | undefined {
  const found = estimate(differences.map(unit), seed, name)
  return found && { ...found, p: signFlipP(differences, new Random(seedFor(seed, `${name}/signs`))) }
}

/**
 * Fisher's randomization test of paired differences, two-sided: if both runs were equally good, each difference could as well have
 * had the other sign. All signs for up to 14 differences that are not 0; else {@link SIGN_DRAWS} draws, and the p-value is
 * `(hits + 1) / (draws + 1)` (Phipson and Smyth, 2010, doi:10.2202/1544-6115.1585).
 */
export function signFlipP(differences: readonly number[], random: Random): number {
  const sizes = Float64Array.from(differences.filter((each) => each !== 0))
  const seen = Math.abs(sizes.reduce((sum, each) => sum + each, 0))
  const room = 1e-9 * sizes.reduce((sum, each) => sum + Math.abs(each), 0) // sums in another order differ in their last bits
  const isHit = (sum: number) => Math.abs(sum) >= seen - room
  if (sizes.length <= EXACT) {
    const all = 2 ** sizes.length
    let hits = 0
    for (let signs = 0; signs < all; signs++) {
      if (isHit(sizes.reduce((sum, each, i) => sum + ((signs >> i) & 1 ? each : -each), 0))) hits++
    }
    return hits / all
  }
  let hits = 1
  for (let draw = 0; draw < SIGN_DRAWS; draw++) if (isHit(randomSum(sizes, random))) hits++
  return hits / (SIGN_DRAWS + 1)
}

function randomSum(sizes: Float64Array, random: Random): number {
  let sum = 0
  let signs = 0
  for (let i = 0; i < sizes.length; i++) {
    signs = i % 32 === 0 ? random.bits() : signs >>> 1
    sum += signs & 1 ? sizes[i]! : -sizes[i]!
  }
  return sum
}

/**
 * P-values of several tests, raised so that all of them together err with the probability of one (Holm, 1979, A Simple
 * Sequentially Rejective Multiple Test Procedure).
 */
export function holm(ps: readonly number[]): number[] {
  const adjusted = new Array<number>(ps.length)
  let least = 0
  for (const [rank, i] of [...ps.keys()].sort((a, b) => ps[a]! - ps[b]!).entries()) {
    least = Math.max(least, Math.min(1, ps[i]! * (ps.length - rank)))
    adjusted[i] = least
  }
  return adjusted
}
