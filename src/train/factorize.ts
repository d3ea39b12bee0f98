import { CholeskyDecomposition } from "ml-matrix"
import { dot, expectMatrix, flat, gram, matrix, multiply, symmetricEigen, transposed } from "./decompose.ts"
import { expectRank } from "./lora_init.ts"

type Weight = Float32Array | Float64Array
type Shape = readonly [number, number]

/** The two matrices of a low-rank layer, `y = (x v^T) u^T`, in float64 until they are stored. */
export interface LowRankFactors {
  /** `[N, R]` */
  readonly u: Float64Array
  /** `[R, C]` */
  readonly v: Float64Array
}

export interface Factorization extends LowRankFactors {
  /** `||W - u v|| / ||W||` */
  readonly error: number
  /** The share of the squared singular values that is kept: of W, or of W and its inputs together. */
  readonly energy: number
  /** `||X (W - u v)^T|| / ||X W^T||` for the inputs that the moment is of. */
  readonly outputError?: number
}

/** Ranks are multiples of this, as kernels read four columns at a time. */
export const RANK_STEP = 4
/**
 * What is added to the second moment's diagonal, in units of its mean: directions that no input had count a little, and
 * the Cholesky factor has an inverse. Ten times as much, and again, where rounding has left the moment indefinite.
 */
const DAMPING = 1e-6
const MOST_DAMPING = 1e-2

/**
 * The product of rank R that is nearest to a weight `[N, C]`: its leading singular triples. With the second moment of the
 * layer's inputs, `X^T X / n`, it is the product whose outputs on these inputs are nearest, `||(W - u v) L||` for the
 * moment's Cholesky factor L. Row k of v and column k of u have the same norm.
 *
 * @param moment `[C, C]`
 */
export function factorize(
  weight: Weight,
  shape: Shape,
  { rank }: { readonly rank: number },
  moment?: Float64Array,
): Factorization {
  expectMatrix("factorize", weight, shape)
  expectRank("factorize", rank, Math.min(...shape))
  const w = new Float64Array(weight)
  const inputs = moment && inputFactor(moment, shape[1])
  const { values, factors } = leadingFactors(w, shape, rank, inputs)
  balance(factors, rank)
  const rest = difference(w, multiply(factors.u, [shape[0], rank], factors.v, shape[1]))
  const [all, left] = [dot(w, w), dot(rest, rest)]
  const lost = sum(values.subarray(rank))
  const total = sum(values)
  const relative = (part: number, whole: number) => (whole > 0 ? Math.sqrt(Math.max(0, part) / whole) : 0)
  const result = { ...factors, error: relative(left, all), energy: total > 0 ? 1 - lost / total : 1 }
  if (!inputs) return result
  const { damping } = inputs
  return { ...result, outputError: relative(lost - damping * left, total - damping * all) }
}

/**
 * All singular values of a weight `[N, C]`, or with the inputs' second moment those of `W L`, largest first. They are the
 * roots of eigenvalues, so the sum of their squares is right to 1e-15 of itself, a value to 1e-15 times its ratio to the
 * largest; what is below 1e-8 of the largest is rounding.
 */
export function singularValues(weight: Weight, shape: Shape, moment?: Float64Array): Float64Array {
  expectMatrix("singularValues", weight, shape)
  const w = new Float64Array(weight)
  const outputs = moment ? multiply(w, shape, inputFactor(moment, shape[1]).lower, shape[1]) : w
  return eigenOfSmaller(outputs, shape).values.map(Math.sqrt)
}

/**
 * The least rank that keeps this share of the sum of squared singular values, rounded up to what kernels take.
 *
 * @param values largest first
 */
export function rankForEnergy(values: ArrayLike<number>, energy: number): number {
  if (!(energy > 0 && energy <= 1)) throw new RangeError(`rankForEnergy: energy is ${energy}, expected one of (0, 1]`)
  const kept = new Float64Array(values.length)
  for (let k = 0; k < values.length; k++) kept[k] = (kept[k - 1] ?? 0) + values[k]! ** 2
  const enough = kept.findIndex((each) => each >= energy * kept.at(-1)!)
  return Math.ceil((enough + 1) / RANK_STEP) * RANK_STEP
}

/** Whether factors of this rank hold fewer numbers than the weight `[N, C]` itself. */
export function isSmaller(rank: number, [rows, columns]: Shape): boolean {
  return rank * (rows + columns) < rows * columns
}

/** The Cholesky factor of a moment to which a little was added. */
interface InputFactor {
  /** `[C, C]` */
  readonly lower: Float64Array
  /** What was added to each element of the diagonal. */
  readonly damping: number
}

function inputFactor(moment: Float64Array, n: number): InputFactor {
  expectMatrix("factorize: moment", moment, [n, n])
  const symmetric = moment.map((value, at) => (value + moment[(at % n) * n + Math.floor(at / n)]!) / 2)
  let trace = 0
  for (let i = 0; i < n; i++) trace += moment[i * n + i]!
  for (let share = DAMPING; share <= MOST_DAMPING && trace > 0; share *= 10) {
    const damping = (share * trace) / n
    const damped = symmetric.map((value, at) => (at % (n + 1) === 0 ? value + damping : value))
    const cholesky = new CholeskyDecomposition(matrix(damped, n, n))
    if (cholesky.isPositiveDefinite()) return { lower: flat(cholesky.lowerTriangularMatrix), damping }
  }
  throw new RangeError(`factorize: moment of trace ${trace} is indefinite, expected X^T X / n of some inputs X`)
}

/** The eigenvalues of all squared singular values, none below 0, and the factors of the leading ones, not yet balanced. */
function leadingFactors(w: Float64Array, [rows, columns]: Shape, rank: number, inputs: InputFactor | undefined) {
  const outputs = inputs ? multiply(w, [rows, columns], inputs.lower, columns) : w
  const { values, vectors } = eigenOfSmaller(outputs, [rows, columns], rank)
  if (rows < columns) {
    // Left vectors P: u v is P P^T W, whatever the inputs.
    return { values, factors: { u: transposed(vectors, rank, rows), v: multiply(vectors, [rank, rows], w, columns) } }
  }
  const right = transposed(vectors, rank, columns) // [C, R]
  const u = multiply(outputs, [rows, columns], right, rank)
  return { values, factors: { u, v: inputs ? solved(inputs.lower, right, [columns, rank]) : vectors } }
}

/** Eigenvalues of the smaller of `x^T x` and `x x^T`, none below 0, with the eigenvectors of the leading ones as rows. */
function eigenOfSmaller(x: Float64Array, [rows, columns]: Shape, count = 0) {
  const n = Math.min(rows, columns)
  const tall = rows < columns ? transposed(x, rows, columns) : x
  const { values, vectors } = symmetricEigen(gram(tall, Math.max(rows, columns), n), n, count)
  return { values: values.map((value) => Math.max(0, value)), vectors }
}

/** `[R, C]`: the v for which `v L` is the transpose of `right [C, R]`. */
function solved(lower: Float64Array, right: Float64Array, [columns, rank]: Shape): Float64Array {
  const x = right.slice() // row i of L^T x = right, from the last one on
  for (let i = columns - 1; i >= 0; i--) {
    const row = x.subarray(i * rank, (i + 1) * rank)
    for (let j = i + 1; j < columns; j++) {
      const factor = lower[j * columns + i]!
      for (let k = 0; k < rank; k++) row[k] = row[k]! - factor * x[j * rank + k]!
    }
    const pivot = lower[i * columns + i]!
    for (let k = 0; k < rank; k++) row[k] = row[k]! / pivot
  }
  return transposed(x, columns, rank)
}

/** Shares each product of a column of u and a row of v out evenly between the two. */
function balance({ u, v }: LowRankFactors, rank: number): void {
  const columns = v.length / rank
  const left = new Float64Array(rank)
  for (let i = 0; i < u.length; i++) left[i % rank] = left[i % rank]! + u[i]! ** 2
  const right = Float64Array.from({ length: rank }, (_, k) => {
    const row = v.subarray(k * columns, (k + 1) * columns)
    return dot(row, row)
  })
  const toLeft = left.map((each, k) => (each > 0 && right[k]! > 0 ? (right[k]! / each) ** 0.25 : 0))
  const toRight = toLeft.map((factor) => (factor > 0 ? 1 / factor : 0))
  for (let i = 0; i < u.length; i++) u[i] = u[i]! * toLeft[i % rank]!
  for (let i = 0; i < v.length; i++) v[i] = v[i]! * toRight[Math.floor(i / columns)]!
}

function difference(x: Float64Array, y: Float64Array): Float64Array {
  return x.map((value, i) => value - y[i]!)
}

function sum(x: Float64Array): number {
  return x.reduce((sum, value) => sum + value, 0)
}
