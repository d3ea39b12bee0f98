import { linear, linearBackwardInput, linearBackwardWeight } from "./linear.ts"
import { rmsNorm, rmsNormBackward } from "./rms_norm.ts"

type Numbers = ArrayLike<number>

/** The nearest integer, the even one of two. */
function round(x: number): number {
  const down = Math.floor(x)
  if (x - down === 0.5) return down % 2 === 0 ? down : down + 1
  return x - down < 0.5 ? down : down + 1
}

/** How far a number is from where its rounding changes. */
export function margin(x: number): number {
  return Math.abs(x - Math.floor(x) - 0.5)
}

/**
 * Rows of x, normalised and rounded to int8 so that the largest of each becomes 127 (arXiv:2402.17764).
 *
 * @returns codes `[T, C]` and what was rounded to them, scales `[T]`, and the numbers that codes stand for
 */
export function bitNorm(x: Numbers, weight: Numbers, eps: number) {
  const C = weight.length
  const y = rmsNorm(x, weight, { eps, offset: 0 })
  const scales = Float64Array.from({ length: y.length / C }, (_, t) => {
    const largest = y.subarray(t * C, (t + 1) * C).reduce((most, value) => Math.max(most, Math.abs(value)), 1e-5)
    return largest / 127
  })
  const units = y.map((value, i) => value / scales[Math.floor(i / C)]!)
  const codes = units.map((unit) => Math.min(127, Math.max(-128, round(unit))))
  return { codes, units, scales, values: codes.map((code, i) => code * scales[Math.floor(i / C)]!) }
}

/** A matrix rounded to trits times the mean of its absolute values (arXiv:2402.17764). */
export function ternarize(weight: Numbers) {
  let sum = 0
  for (let i = 0; i < weight.length; i++) sum += Math.abs(weight[i]!)
  const scale = Math.max(sum / weight.length, 1e-5)
  const units = Float64Array.from(weight, (value) => value / scale)
  const trits = units.map((unit) => Math.min(1, Math.max(-1, round(unit))))
  return { trits, units, scale, values: trits.map((trit) => trit * scale) }
}

/** `bitNorm(x) ternarize(weight)^T`: x `[T, C]`, norm `[C]`, weight `[N, C]`. */
export function bitLinear(x: Numbers, norm: Numbers, weight: Numbers, eps: number): Float64Array {
  return linear(bitNorm(x, norm, eps).values, ternarize(weight).values, norm.length)
}

/**
 * Gradients of `sum(bitLinear(x, norm, weight) * dy)` as if nothing were rounded: the product's with respect to the
 * numbers that it multiplied, then the norm's.
 */
export function bitLinearBackward(x: Numbers, norm: Numbers, weight: Numbers, dy: Numbers, eps: number) {
  const C = norm.length
  const dvalues = linearBackwardInput(dy, ternarize(weight).values, C)
  const { dx, dweight: dnorm } = rmsNormBackward(x, norm, dvalues, { eps, offset: 0 })
  return { dx, dnorm, dweight: linearBackwardWeight(dy, bitNorm(x, norm, eps).values, C) }
}

/** What is differentiated: the product without rounding of x, with ternary numbers as they are. */
export function smoothBitLinear(x: Numbers, norm: Numbers, ternary: Numbers, eps: number): Float64Array {
  return linear(rmsNorm(x, norm, { eps, offset: 0 }), ternary, norm.length)
}
