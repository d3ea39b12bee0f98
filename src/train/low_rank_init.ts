import { dot, multiply, symmetricEigen, transposed } from "./decompose.ts"
import { factorize, type LowRankFactors } from "./factorize.ts"

type Weight = Float32Array | Float64Array
type Shape = readonly [number, number]

/** What stands behind the layer whose function is approximated. */
export type ApproximatedActivation = "relu" | "gelu_tanh" | "silu"

export interface ApproximationOptions {
  readonly activation: ApproximatedActivation
  /** Updates by Adam; 1000 by default. */
  readonly steps?: number
}

export interface ApproximatedFactors extends LowRankFactors {
  /** `E ||act(W x) - act(u v x)||^2` over x of the standard normal distribution. */
  readonly objective: number
  /** The same of {@link spectral}'s factors: never less. */
  readonly spectralObjective: number
}

/** Adam's first rate, in units of the root mean square of what it moves; it falls to 0 along a cosine. */
const RATE = 0.02
const [BETA1, BETA2] = [0.9, 0.999]
/**
 * Points of the quadrature, and Hermite polynomials. Objectives are right to 1e-6 for units of norm 2, to some thousandths
 * for those of 7, to which the activation is nearly a kink.
 */
const POINTS = 128

/** Factors to train a low-rank layer from: the leading singular triples of a weight as a dense layer's (arXiv:2105.01029). */
export function spectral(weight: Weight, shape: Shape, rank: number): LowRankFactors {
  const { u, v } = factorize(weight, shape, { rank })
  return { u, v }
}

/**
 * Factors whose outputs behind an activation are those of a dense layer, as nearly as the rank allows, for inputs of the
 * standard normal distribution (arXiv:2202.00834): Adam on both factors from {@link spectral} on. The objective has no
 * sampling in it, so nothing depends on a seed: of a unit only the norms of its two rows and their angle count, which makes
 * it a closed form for ReLU and a series in the angle's cosine for GELU and SiLU. The best factors on the way are kept.
 */
export function functionApproximation(
  weight: Weight,
  shape: Shape,
  rank: number,
  { activation, steps = 1000 }: ApproximationOptions,
): ApproximatedFactors {
  if (!(Number.isInteger(steps) && steps >= 0)) {
    throw new RangeError(`functionApproximation: steps is ${steps}, expected a whole number from 0 on`)
  }
  const factors = spectral(weight, shape, rank)
  const distanceOf = outputDistance(weight, shape, rank, activation)
  const [moveU, moveV] = [adam(factors.u), adam(factors.v)]
  let best = { u: factors.u.slice(), v: factors.v.slice(), objective: Number.POSITIVE_INFINITY }
  let spectralObjective = 0
  for (let step = 0; ; step++) {
    const { objective, du, dv } = distanceOf(factors)
    if (step === 0) spectralObjective = objective
    if (objective < best.objective) best = { u: factors.u.slice(), v: factors.v.slice(), objective }
    if (step === steps) return { ...best, spectralObjective }
    const rate = (RATE * (1 + Math.cos((Math.PI * step) / steps))) / 2
    moveU(du, rate)
    moveV(dv, rate)
  }
}

/** Moves numbers in place against their gradients (arXiv:1412.6980). */
function adam(x: Float64Array): (gradient: Float64Array, rate: number) => void {
  const unit = Math.sqrt(dot(x, x) / x.length)
  const first = new Float64Array(x.length)
  const second = new Float64Array(x.length)
  let step = 0
  return (gradient, rate) => {
    step++
    const size = (rate * unit) / (1 - BETA1 ** step)
    for (let i = 0; i < x.length; i++) {
      first[i] = BETA1 * first[i]! + (1 - BETA1) * gradient[i]!
      second[i] = BETA2 * second[i]! + (1 - BETA2) * gradient[i]! ** 2
      const root = Math.sqrt(second[i]! / (1 - BETA2 ** step))
      if (root > 0) x[i] = x[i]! - (size * first[i]!) / root
    }
  }
}

/** How far apart outputs are. */
export interface OutputDistance {
  readonly objective: number
  readonly du: Float64Array
  readonly dv: Float64Array
}

/** `E ||act(W x) - act(u v x)||^2` of any factors, with its gradients. */
export function outputDistance(
  weight: Weight,
  [rows, columns]: Shape,
  rank: number,
  activation: ApproximatedActivation,
): (factors: LowRankFactors) => OutputDistance {
  const w = new Float64Array(weight)
  const row = (x: Float64Array, i: number) => x.subarray(i * columns, (i + 1) * columns)
  const norms = Float64Array.from({ length: rows }, (_, i) => Math.sqrt(dot(row(w, i), row(w, i))))
  const distances = Array.from(norms, activation === "relu" ? reluDistance : smoothDistance(activation))
  return ({ u, v }: LowRankFactors) => {
    const product = multiply(u, [rows, rank], v, columns)
    let objective = 0
    for (let i = 0; i < rows; i++) objective += toGradient(row(product, i), row(w, i), norms[i]!, distances[i]!)
    const du = multiply(product, [rows, columns], transposed(v, rank, columns), rank)
    return { objective, du, dv: multiply(transposed(u, rows, rank), [rank, rows], product, columns) }
  }
}

/** The distance of one unit's outputs, whose gradient takes the place of its row v of the product. */
function toGradient(v: Float64Array, w: Float64Array, norm: number, distanceTo: DistanceTo): number {
  const own = Math.sqrt(dot(v, v))
  const both = own * norm
  const cosine = both > 0 ? Math.max(-1, Math.min(1, dot(v, w) / both)) : 0
  const { value, byNorm, byCosine } = distanceTo(own, cosine)
  const alongW = both > 0 ? byCosine / both : 0
  const alongV = own > 0 ? (byNorm - (byCosine * cosine) / own) / own : 0
  for (let i = 0; i < v.length; i++) v[i] = alongV * v[i]! + alongW * w[i]!
  return value
}

/** `E (act(p a) - act(q b))^2` for standard normal a and b of a given correlation, and its slopes. */
interface Distance {
  readonly value: number
  readonly byNorm: number
  readonly byCosine: number
}

type DistanceTo = (q: number, cosine: number) => Distance

/** `p^2/2 + q^2/2 - p q / pi * (sin t + (pi - t) cos t)` for the angle t: the arc-cosine kernel (Cho and Saul, 2009). */
function reluDistance(p: number): DistanceTo {
  return (q, cosine) => {
    const angle = Math.acos(cosine)
    const kernel = (Math.sqrt(1 - cosine ** 2) + (Math.PI - angle) * cosine) / Math.PI
    const value = Math.max(0, p ** 2 / 2 + q ** 2 / 2 - p * q * kernel)
    return { value, byNorm: q - p * kernel, byCosine: -p * q * (1 - angle / Math.PI) }
  }
}

/**
 * Both activations are x/2 and an even function. The first gives `(p^2 + q^2 - 2 p q cosine) / 4`. With the coefficients c_k
 * of `z -> even(p z)` in normalised Hermite polynomials, `E even(p a) even(q b)` is the sum of `c_k(p) c_k(q) cosine^k`
 * (Mehler), so the second gives the sum of `(c_k(p) - c_k(q))^2 + 2 c_k(p) c_k(q) (1 - cosine^k)`, over even k alone.
 */
function smoothDistance(activation: "gelu_tanh" | "silu"): (p: number) => DistanceTo {
  const coefficients = hermiteCoefficients(activation === "silu" ? siluGate : geluGate)
  return (p) => {
    const { values: cp } = coefficients(p)
    return (q, cosine) => {
      const { values: cq, slopes } = coefficients(q)
      let value = (p ** 2 + q ** 2 - 2 * p * q * cosine) / 4
      let byNorm = (q - p * cosine) / 2
      let bySquare = 0
      let power = 1 // of the cosine's square
      let slope = 0 // of that power
      for (let m = 0; m < cp.length; m++) {
        value += (cp[m]! - cq[m]!) ** 2 + 2 * cp[m]! * cq[m]! * (1 - power)
        byNorm += 2 * (cq[m]! - cp[m]! * power) * slopes[m]!
        bySquare -= 2 * cp[m]! * cq[m]! * slope
        slope = slope * cosine ** 2 + power
        power *= cosine ** 2
      }
      return { value, byNorm, byCosine: 2 * cosine * bySquare - (p * q) / 2 }
    }
  }
}

/** What stands in the tanh of an activation `x/2 + x/2 tanh(...)`, and its slope. */
interface Gate {
  at(x: number): number
  slope(x: number): number
}

const siluGate: Gate = { at: (x) => x / 2, slope: () => 1 / 2 }
const geluGate: Gate = {
  at: (x) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3),
  slope: (x) => Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x ** 2),
}

/** The coefficients of `z -> x/2 tanh(gate(x))`, x = q z, in even Hermite polynomials, and their slopes in q. */
function hermiteCoefficients(gate: Gate) {
  const { points, basis } = quadrature()
  const [even, moved] = [new Float64Array(points.length), new Float64Array(points.length)]
  return (q: number) => {
    for (let j = 0; j < points.length; j++) {
      const x = q * points[j]!
      const t = Math.tanh(gate.at(x))
      even[j] = (x * t) / 2
      moved[j] = (points[j]! * (t + x * (1 - t ** 2) * gate.slope(x))) / 2
    }
    return { values: basis.map((row) => dot(row, even)), slopes: basis.map((row) => dot(row, moved)) }
  }
}

/**
 * Gauss and Hermite's quadrature of even functions for the standard normal distribution: its points are the eigenvalues of
 * the matrix by which z takes one normalised Hermite polynomial to its neighbours, of which the positive ones are enough.
 * Row m of the basis has at each point polynomial 2m, times the weight of the point and its mirror image.
 */
function quadrature(): { readonly points: Float64Array; readonly basis: readonly Float64Array[] } {
  const matrix = new Float64Array(POINTS * POINTS)
  for (let k = 1; k < POINTS; k++) {
    matrix[(k - 1) * POINTS + k] = Math.sqrt(k)
    matrix[k * POINTS + k - 1] = Math.sqrt(k)
  }
  const points = symmetricEigen(matrix, POINTS).values.subarray(0, POINTS / 2)
  const polynomials = Array.from(points, (z) => {
    const at = new Float64Array(POINTS).fill(1)
    for (let k = 1; k < POINTS; k++) {
      const older = k > 1 ? Math.sqrt(k - 1) * at[k - 2]! : 0
      at[k] = (z * at[k - 1]! - older) / Math.sqrt(k)
    }
    const weight = 2 / dot(at, at)
    return at.map((value) => value * weight)
  })
  const basis = Array.from(points, (_, m) => Float64Array.from(polynomials, (at) => at[2 * m]!))
  return { points, basis }
}
