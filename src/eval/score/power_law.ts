import type { PositionBucket } from "../task.ts"
import { middleOf } from "./positions.ts"

/** `loss(x) = alpha x^beta + gamma`, and the share of the variance that it explains. */
export interface PowerLaw {
  readonly alpha: number
  readonly beta: number
  readonly gamma: number
  readonly r2: number
}

const STEEPEST = -3
const FLATTEST = -0.01
const STEPS = 300

/**
 * The power law that is nearest to losses by position, each bucket counted once, as they are evenly spaced in log x. For a given beta the
 * other two follow by least squares; beta is searched in [-3, -0.01]. Undefined for fewer than 4 buckets. Gemini 1.5 reports such fits
 * (Gemini Team 2024, arXiv:2403.05530, section 5.2.1.1).
 */
export function fitPowerLaw(buckets: readonly PositionBucket[]): PowerLaw | undefined {
  if (buckets.length < 4) return undefined
  const x = buckets.map(middleOf)
  const y = buckets.map(({ loss }) => loss)
  const at = (step: number) => STEEPEST + ((FLATTEST - STEEPEST) * step) / STEPS
  let best = 0
  let least = Number.POSITIVE_INFINITY
  for (let step = 0; step <= STEPS; step++) {
    const { error } = line(x, y, at(step))
    if (error < least) [best, least] = [step, error]
  }
  const beta = narrow((beta) => line(x, y, beta).error, at(Math.max(0, best - 1)), at(Math.min(STEPS, best + 1)))
  const { alpha, gamma, error } = line(x, y, beta)
  const total = spread(y)
  return { alpha, beta, gamma, r2: total > 0 ? 1 - error / total : 1 }
}

/** Least squares for `y = alpha x^beta + gamma` with a given beta. */
function line(
  x: readonly number[],
  y: readonly number[],
  beta: number,
): { alpha: number; gamma: number; error: number } {
  const powers = x.map((x) => x ** beta)
  const [px, py] = [mean(powers), mean(y)]
  const xx = spread(powers)
  const xy = powers.reduce((sum, p, i) => sum + (p - px) * (y[i]! - py), 0)
  const alpha = xx > 0 ? xy / xx : 0
  const gamma = py - alpha * px
  const error = powers.reduce((sum, p, i) => sum + (alpha * p + gamma - y[i]!) ** 2, 0)
  return { alpha, gamma, error }
}

/** The place of the least value between two places, if there is one valley: golden sections. */
function narrow(value: (at: number) => number, low: number, high: number): number {
  const golden = (Math.sqrt(5) - 1) / 2
  for (let i = 0; i < 60; i++) {
    const left = high - golden * (high - low)
    const right = low + golden * (high - low)
    if (value(left) <= value(right)) high = right
    else low = left
  }
  return (low + high) / 2
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Sum of squared differences from the mean. */
function spread(values: readonly number[]): number {
  const middle = mean(values)
  return values.reduce((sum, value) => sum + (value - middle) ** 2, 0)
}
