import { Matrix, QrDecomposition, SingularValueDecomposition } from "ml-matrix"
import { Random } from "./random.ts"

/** The leading part of `W = u diag(s) v^T`, largest singular value first. */
export interface TruncatedSvd {
  /** `[rows, rank]`, orthonormal columns */
  readonly u: Float64Array
  /** `[rank]` */
  readonly s: Float64Array
  /** `[columns, rank]`, orthonormal columns; the largest entry of each is positive */
  readonly v: Float64Array
}

export interface SvdOptions {
  readonly seed?: number
}

/** Up to this many rows or columns the whole decomposition is the quickest. */
const SMALL = 128
/** A round's polynomial: its degree, and how far apart (as a logarithm) it may drive two columns before they blur. */
const LARGEST_DEGREE = 20
const LARGEST_GROWTH = 16
/** Where neighbouring values differ by less than this many rounds can tell, any mixture of the two is as good. */
const MOST_ROUNDS = 24
/** How well `G x = t x` must hold, in units of t and of the largest t. A value is then right to the square of that. */
const RESIDUAL = 1e-6
const ROUNDING = 1e-13

/**
 * The `rank` leading singular triples of a matrix `[rows, columns]`, in float64. Small matrices are decomposed whole.
 * Others start from a random subspace (arXiv:0909.4061), which a Chebyshev polynomial of the Gram matrix turns towards the
 * leading ones, as it grows fastest above the values to be cut off, until they stand still. Values are then right to about
 * 1e-9 of themselves, or to 1e-10 of the largest where they are small. The same seed gives the same numbers.
 */
export function truncatedSvd(
  weight: Float32Array | Float64Array,
  [rows, columns]: readonly [number, number],
  rank: number,
  { seed = 0 }: SvdOptions = {},
): TruncatedSvd {
  expectMatrix("truncatedSvd", weight, [rows, columns])
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= Math.min(rows, columns))) {
    throw new RangeError(`truncatedSvd: rank is ${rank}, expected an integer of 1 to ${Math.min(rows, columns)}`)
  }
  if (rows < columns) {
    const { left, s, right } = tallSvd(transposed(weight, rows, columns), columns, rows, rank, seed)
    return withSigns(right, s, left)
  }
  const { left, s, right } = tallSvd(Float64Array.from(weight), rows, columns, rank, seed)
  return withSigns(left, s, right)
}

/** Throws a RangeError unless a weight has the shape's length and nothing but numbers in it. */
export function expectMatrix(
  subject: string,
  weight: Float32Array | Float64Array,
  [rows, columns]: readonly [number, number],
): void {
  if (rows * columns !== weight.length) {
    throw new RangeError(`${subject}: length is ${weight.length}, expected rows * columns = ${rows} * ${columns}`)
  }
  const bad = weight.findIndex((value: number) => !Number.isFinite(value))
  if (bad >= 0) throw new RangeError(`${subject}: weight[${bad}] is ${weight[bad]}, expected a finite number`)
}

interface Triples {
  left: Matrix
  s: number[]
  right: Matrix
}

function tallSvd(weight: Float64Array, rows: number, columns: number, rank: number, seed: number): Triples {
  const width = rank + Math.max(10, rank)
  const w = matrix(weight, rows, columns)
  if (columns <= SMALL || width >= columns) return leading(w, rank)
  const subspace = leadingSubspace(gram(weight, rows, columns), columns, rank, width, seed)
  // One more step with W itself gives back the digits that squaring it has cost, and the left side.
  const image = multiply(weight, [rows, columns], flat(subspace), width)
  const left = new QrDecomposition(matrix(image, rows, width)).orthogonalMatrix // [rows, width]
  const right = new QrDecomposition(w.transposeMultiply(left)) // [columns, width]
  const core = leading(right.upperTriangularMatrix.transpose(), rank)
  return { left: left.mmul(core.left), s: core.s, right: right.orthogonalMatrix.mmul(core.right) }
}

/** The whole decomposition of a tall matrix, cut. */
function leading(matrix: Matrix, rank: number): Triples {
  const svd = new SingularValueDecomposition(matrix)
  const cut = (side: Matrix) => side.subMatrix(0, side.rows - 1, 0, rank - 1)
  return { left: cut(svd.leftSingularVectors), s: svd.diagonal.slice(0, rank), right: cut(svd.rightSingularVectors) }
}

/** `[n, width]` orthonormal columns; the first `rank` are eigenvectors of the Gram matrix for its largest eigenvalues. */
function leadingSubspace(gram: Float64Array, n: number, rank: number, width: number, seed: number): Matrix {
  const random = new Random(seed)
  let start = matrix(
    Float64Array.from({ length: n * width }, () => random.normal()),
    n,
    width,
  )
  for (let round = 1; ; round++) {
    // Rayleigh and Ritz: the eigenvectors of the Gram matrix within the subspace.
    const basis = new QrDecomposition(start).orthogonalMatrix
    const image = matrix(multiply(gram, [n, n], flat(basis), width), n, width)
    const { left: turn, s: values } = leading(basis.transposeMultiply(image), width)
    const [x, gx] = [basis.mmul(turn), image.mmul(turn)]
    if (round === MOST_ROUNDS || isConverged(x, gx, values, rank)) return x
    start = matrix(filter(gram, n, flat(x), flat(gx), values), n, width)
  }
}

function isConverged(x: Matrix, gx: Matrix, values: readonly number[], rank: number): boolean {
  for (let k = 0; k < rank; k++) {
    let squares = 0
    for (let i = 0; i < x.rows; i++) squares += (gx.get(i, k) - values[k]! * x.get(i, k)) ** 2
    if (!(Math.sqrt(squares) <= Math.max(RESIDUAL * values[k]!, ROUNDING * values[0]!))) return false
  }
  return true
}

/**
 * `p(G) x` for the Chebyshev polynomial that is at most 1 on the eigenvalues up to the smallest of `values`, divided by
 * what it is at the largest.
 */
function filter(
  gram: Float64Array,
  n: number,
  x: Float64Array,
  gx: Float64Array,
  values: readonly number[],
): Float64Array {
  const width = values.length
  const half = values.at(-1)! / 2 // the middle of that interval, and its half length
  const top = (values[0]! - half) / half
  const degree = Math.max(1, Math.min(LARGEST_DEGREE, Math.floor(LARGEST_GROWTH / Math.acosh(top))))
  let ratio = 1 / top // of the polynomials before and now, at the largest value
  let before = x
  let now = gx.map((value, i) => (value / half - x[i]!) * ratio)
  for (let k = 2; k <= degree; k++) {
    const next = 1 / (2 * top - ratio)
    const image = multiply(gram, [n, n], now, width)
    const both = ratio * next
    const older = before
    const old = now
    before = now
    now = image.map((value, i) => 2 * next * (value / half - old[i]!) - both * older[i]!)
    ratio = next
  }
  return now
}

/** `W^T W` of `W [rows, n]`. */
export function gram(weight: Float64Array, rows: number, n: number): Float64Array {
  const result = new Float64Array(n * n)
  const four = new Float64Array(4 * n)
  for (let r = 0; r < rows; r += 4) {
    four.fill(0).set(weight.subarray(r * n, Math.min(r + 4, rows) * n))
    for (let i = 0; i < n; i++) {
      addRows(result, i * n + i, n - i, four[i]!, four[n + i]!, four[2 * n + i]!, four[3 * n + i]!, four, i, n)
    }
  }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) result[i * n + j] = result[j * n + i]!
  return result
}

/** `m x` of `m [rows, n]` and `x [n, width]`. */
export function multiply(
  m: Float64Array,
  [rows, n]: readonly [number, number],
  x: Float64Array,
  width: number,
): Float64Array {
  const result = new Float64Array(rows * width)
  const fours = new Float64Array(4 * Math.ceil(n / 4) * width) // with zeros for what is read behind a row of m
  fours.set(x)
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < n; k += 4) {
      const at = i * n + k
      addRows(result, i * width, width, m[at]!, m[at + 1] ?? 0, m[at + 2] ?? 0, m[at + 3] ?? 0, fours, k * width, width)
    }
  }
  return result
}

/** `to += a x0 + b x1 + c x2 + d x3` for four rows: three times as quick as one by one, as `to` is read less often. */
function addRows(
  to: Float64Array,
  at: number,
  count: number,
  a: number,
  b: number,
  c: number,
  d: number,
  x: Float64Array,
  first: number,
  stride: number,
): void {
  const second = first + stride
  const third = second + stride
  const fourth = third + stride
  for (let j = 0; j < count; j++) {
    to[at + j] = to[at + j]! + a * x[first + j]! + b * x[second + j]! + c * x[third + j]! + d * x[fourth + j]!
  }
}

/** A matrix of ml-matrix with these values. */
export function matrix(values: Float64Array, rows: number, columns: number): Matrix {
  const result = new Matrix(rows, columns)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) result.set(i, j, values[i * columns + j]!)
  return result
}

/** The values of a matrix of ml-matrix, row by row. */
export function flat(matrix: Matrix): Float64Array {
  return Float64Array.from(matrix.to1DArray())
}

/** `[rows, columns]` -> `[columns, rows]` */
export function transposed(values: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const result = new Float64Array(rows * columns)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) result[j * rows + i] = values[i * columns + j]!
  return result
}

/** Each pair of vectors with the sign that makes the right one's largest entry positive. */
function withSigns(left: Matrix, s: readonly number[], right: Matrix): TruncatedSvd {
  for (let k = 0; k < s.length; k++) {
    let largest = 0
    for (let i = 0; i < right.rows; i++) {
      if (Math.abs(right.get(i, k)) > Math.abs(largest)) largest = right.get(i, k)
    }
    if (largest >= 0) continue
    left.mulColumn(k, -1)
    right.mulColumn(k, -1)
  }
  return { u: flat(left), s: Float64Array.from(s), v: flat(right) }
}

/** Eigenvalues of a symmetric matrix, largest first, with the eigenvectors of the leading ones. */
export interface Eigen {
  /** `[n]` */
  readonly values: Float64Array
  /** `[count, n]`, orthonormal rows */
  readonly vectors: Float64Array
}

const EPSILON = 2 ** -52
/** In a matrix whose largest entry is 1, what is below this is none: far below all rounding. */
const NOTHING = 1e-25

/**
 * All eigenvalues of a symmetric matrix `[n, n]` in float64, and `count` eigenvectors: reflections make it tridiagonal,
 * rotations diagonal. Values are right to about 1e-15 of the largest in magnitude, vectors
 * orthonormal to 1e-13.
 */
export function symmetricEigen(symmetric: Float64Array, n: number, count = 0): Eigen {
  const largest = symmetric.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  if (!Number.isFinite(largest)) {
    throw new RangeError(`symmetricEigen: matrix has ${largest} in it, expected finite numbers`)
  }
  const scale = largest || 1
  const { diagonal, beside, normals } = tridiagonal(
    symmetric.map((value) => value / scale),
    n,
  )
  const rows = Array.from({ length: count > 0 ? n : 0 }, (_, i) => new Float64Array(n).fill(1, i, i + 1))
  diagonalise(diagonal, beside, rows)
  const order = Array.from(diagonal.keys()).sort((i, j) => diagonal[j]! - diagonal[i]!)
  const vectors = new Float64Array(count * n)
  for (let k = 0; k < count; k++) {
    const vector = vectors.subarray(k * n, (k + 1) * n)
    vector.set(rows[order[k]!]!)
    reflectBack(vector, normals, n)
  }
  return { values: Float64Array.from(order, (i) => diagonal[i]! * scale), vectors }
}

/**
 * A symmetric matrix as `H T H^T`, H a product of reflections `1 - v v^T` and T of three diagonals: element k of `beside`
 * lies between k and k + 1 on the diagonal. Works in the upper triangle of `a`, in whose row k from column k + 1 on the v of
 * the k-th reflection comes to lie.
 */
function tridiagonal(a: Float64Array, n: number) {
  const beside = new Float64Array(Math.max(0, n - 1))
  for (let k = 0; k + 2 < n; k++) {
    const v = a.subarray(k * n + k + 1, (k + 1) * n)
    beside[k] = makeNormal(v)
    const w = trailingImage(a, n, k + 1, v)
    const half = dot(v, w) / 2
    for (let i = 0; i < v.length; i++) w[i] = w[i]! - half * v[i]!
    for (let i = 0; i < v.length; i++) {
      const row = (k + 1 + i) * n + k + 1
      const vi = v[i]!
      const wi = w[i]!
      for (let j = i; j < v.length; j++) a[row + j] = a[row + j]! - vi * w[j]! - wi * v[j]!
    }
  }
  if (n >= 2) beside[n - 2] = a[(n - 2) * n + n - 1]!
  return { diagonal: Float64Array.from({ length: n }, (_, i) => a[i * n + i]!), beside, normals: a }
}

/** Turns x into the v of length sqrt(2) for which `(1 - v v^T) x` is zero behind its first element, which it gives. */
function makeNormal(x: Float64Array): number {
  const norm = Math.sqrt(dot(x, x))
  if (!(norm > NOTHING)) {
    x.fill(0)
    return 0
  }
  const first = x[0]! > 0 ? -norm : norm
  const factor = 1 / Math.sqrt(norm * (norm + Math.abs(x[0]!)))
  x[0] = x[0]! - first
  for (let i = 0; i < x.length; i++) x[i] = x[i]! * factor
  return first
}

/** `A v` for the part of the symmetric matrix from row and column `first` on, of which the upper triangle is there. */
function trailingImage(a: Float64Array, n: number, first: number, v: Float64Array): Float64Array {
  const image = new Float64Array(v.length)
  for (let i = 0; i < v.length; i++) {
    const row = (first + i) * n + first
    const vi = v[i]!
    let sum = a[row + i]! * vi
    for (let j = i + 1; j < v.length; j++) {
      const value = a[row + j]!
      sum += value * v[j]!
      image[j] = image[j]! + value * vi
    }
    image[i] = image[i]! + sum
  }
  return image
}

/** Shifted QR steps on the part that is not yet diagonal, from its end; `rows` are turned along. */
function diagonalise(diagonal: Float64Array, beside: Float64Array, rows: readonly Float64Array[]): void {
  const isSmall = (k: number) =>
    Math.abs(beside[k]!) <= EPSILON * (Math.abs(diagonal[k]!) + Math.abs(diagonal[k + 1]!)) + NOTHING
  for (let last = diagonal.length - 1; last > 0; ) {
    if (isSmall(last - 1)) {
      beside[--last] = 0
      continue
    }
    let first = last - 1
    while (first > 0 && !isSmall(first - 1)) first--
    turn(diagonal, beside, first, last, rows)
  }
}

/** One QR step with Wilkinson's shift: a rotation brings in what the next ones push out at the end. */
function turn(d: Float64Array, e: Float64Array, first: number, last: number, rows: readonly Float64Array[]): void {
  const half = (d[last - 1]! - d[last]!) / 2
  const corner = e[last - 1]!
  const shift = d[last]! - corner ** 2 / (half + (half < 0 ? -1 : 1) * Math.sqrt(half ** 2 + corner ** 2))
  let x = d[first]! - shift
  let z = e[first]!
  for (let k = first; k < last; k++) {
    const r = Math.sqrt(x * x + z * z)
    const c = r > 0 ? x / r : 1
    const s = r > 0 ? z / r : 0
    if (k > first) e[k - 1] = r
    const step = d[k + 1]! - d[k]!
    const moved = s * (s * step + 2 * c * e[k]!)
    d[k] = d[k]! + moved
    d[k + 1] = d[k + 1]! - moved
    e[k] = c * s * step + (c * c - s * s) * e[k]!
    if (k + 1 < last) {
      x = e[k]!
      z = s * e[k + 1]!
      e[k + 1] = c * e[k + 1]!
    }
    if (rows.length > 0) rotate(rows[k]!, rows[k + 1]!, c, s)
  }
}

function rotate(x: Float64Array, y: Float64Array, c: number, s: number): void {
  for (let i = 0; i < x.length; i++) {
    const xi = x[i]!
    const yi = y[i]!
    x[i] = c * xi + s * yi
    y[i] = c * yi - s * xi
  }
}

/** `H x`: the reflections in turn, the last one first. */
function reflectBack(x: Float64Array, normals: Float64Array, n: number): void {
  for (let k = n - 3; k >= 0; k--) {
    const v = normals.subarray(k * n + k + 1, (k + 1) * n)
    const rest = x.subarray(k + 1)
    const along = dot(v, rest)
    for (let i = 0; i < v.length; i++) rest[i] = rest[i]! - along * v[i]!
  }
}

/** `x . y` */
export function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}
