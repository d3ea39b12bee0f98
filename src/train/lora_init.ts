import { Matrix, QrDecomposition } from "ml-matrix"
import { truncatedSvd } from "./decompose.ts"
import { Random } from "./random.ts"

/** The two matrices of a LoRA module, `y = W x + scale * B A x`, in float64 until they are stored. */
export interface Factors {
  /** `[rank, in]` */
  readonly a: Float64Array
  /** `[out, rank]` */
  readonly b: Float64Array
}

export interface InitialFactors extends Factors {
  /** What the base weight must give up, `W - scale * B A`, so that training starts from the model as it was. */
  readonly base?: Factors
}

/**
 * - `default`: A uniform in ±1/sqrt(in), as PyTorch's Kaiming initialisation with a = sqrt(5), and B = 0 (arXiv:2106.09685)
 * - `gaussian`: A normal with variance 1/rank, B = 0
 * - `pissa`: the leading singular triples of W, shared out between A and B (arXiv:2404.02948)
 * - `olora`: the first columns of Q and rows of R in W = Q R (arXiv:2406.01775)
 */
export type LoraInit = "default" | "gaussian" | "pissa" | "olora"

export interface LoraInitOptions {
  /** `[out, in]` of the base weight */
  readonly shape: readonly [number, number]
  readonly rank: number
  /** `alpha / rank`, or what takes its place */
  readonly scale: number
  readonly seed: number
  /** The base weight, for `pissa` and `olora`. */
  readonly weight?: Float32Array | Float64Array
}

/** Initial matrices of a LoRA module. The same seed gives the same numbers. */
export function loraFactors(init: LoraInit, options: LoraInitOptions): InitialFactors {
  const { shape, rank, scale, seed } = options
  const decomposes = init === "pissa" || init === "olora"
  expectRank("loraFactors", rank, decomposes ? Math.min(...shape) : Number.POSITIVE_INFINITY)
  expectScale("loraFactors", scale)
  if (init === "pissa") return withBase(principalFactors(options))
  if (init === "olora") return withBase(orthonormalFactors(options))
  const a = init === "gaussian" ? gaussian(rank, shape[1], seed) : kaimingUniform([rank, shape[1]], seed)
  return { a, b: new Float64Array(shape[0] * rank) }
}

function withBase(base: Factors): InitialFactors {
  return { a: base.a.slice(), b: base.b.slice(), base }
}

/** `A = sqrt(S/scale) V^T` and `B = U sqrt(S/scale)`, so that `scale * B A` is the leading part of W. */
function principalFactors(options: LoraInitOptions): Factors {
  const { shape, rank, scale, seed } = options
  const { u, s, v } = truncatedSvd(expectWeight("loraFactors", options), shape, rank, { seed })
  const root = s.map((value) => Math.sqrt(value / scale))
  return { a: transposedColumns(v, rank, root), b: u.map((value, i) => value * root[i % rank]!) }
}

/** The first columns of Q depend on those of W alone, and the first rows of R are `Q_r^T W`. */
function orthonormalFactors(options: LoraInitOptions): Factors {
  const [out, width] = options.shape
  const { rank } = options
  const weight = expectWeight("loraFactors", options)
  const w = new Matrix(out, width)
  for (let i = 0; i < out; i++) for (let j = 0; j < width; j++) w.set(i, j, weight[i * width + j]!)
  const q = new QrDecomposition(w.subMatrix(0, out - 1, 0, rank - 1)).orthogonalMatrix
  return { a: Float64Array.from(q.transposeMultiply(w).to1DArray()), b: Float64Array.from(q.to1DArray()) }
}

/** `[columns, rank]` -> `[rank, columns]`, row k times `factors[k]`. */
export function transposedColumns(v: Float64Array, rank: number, factors?: Float64Array): Float64Array {
  const columns = v.length / rank
  return Float64Array.from({ length: v.length }, (_, i) => {
    const k = Math.floor(i / columns)
    return v[(i % columns) * rank + k]! * (factors ? factors[k]! : 1)
  })
}

/** `[rows, columns]` uniform in ±1/sqrt(columns): how PyTorch's Linear starts. */
export function kaimingUniform([rows, columns]: readonly [number, number], seed: number): Float64Array {
  const random = new Random(seed)
  const bound = 1 / Math.sqrt(columns)
  return Float64Array.from({ length: rows * columns }, () => (2 * random.uniform() - 1) * bound)
}

function gaussian(rank: number, columns: number, seed: number): Float64Array {
  const random = new Random(seed)
  return Float64Array.from({ length: rank * columns }, () => random.normal() / Math.sqrt(rank))
}

/** A decomposition has as many ranks as the matrix has rows or columns; random factors may have any. */
export function expectRank(subject: string, rank: number, most: number): void {
  if (Number.isInteger(rank) && rank >= 1 && rank <= most) return
  throw new RangeError(`${subject}: rank is ${rank}, expected an integer of 1 to ${most}`)
}

export function expectScale(subject: string, scale: number): void {
  if (scale > 0 && Number.isFinite(scale)) return
  throw new RangeError(`${subject}: scale is ${scale}, expected a finite number above 0`)
}

export function expectWeight(
  subject: string,
  { weight }: { readonly weight?: Float32Array | Float64Array },
): Float32Array | Float64Array {
  if (weight === undefined)
    throw new TypeError(`${subject}: weight is missing, expected the base weight for this start`)
  return weight
}

/** An adapter on the base as it was before `base` was taken out of it. */
export interface PlainLora extends Factors {
  readonly rank: number
  readonly alpha: number
}

/**
 * Trained matrices whose base gave up another pair, as plain LoRA of twice the rank on the untouched base:
 * `B A - B0 A0 = [B, -B0] [A; A0]`. Alpha is such that the scale stays what it was.
 *
 * @param lora the rank and alpha it was trained with
 */
export function plainLora(
  { a, b }: Factors,
  base: Factors,
  { rank, alpha, useRslora = false }: { rank: number; alpha: number; useRslora?: boolean },
): PlainLora {
  if (a.length !== base.a.length || b.length !== base.b.length || a.length % rank !== 0 || b.length % rank !== 0) {
    const is = `${a.length}, ${b.length}, ${base.a.length}, ${base.b.length}`
    throw new RangeError(`plainLora: lengths are ${is}, expected two pairs alike of rank ${rank}`)
  }
  const both = new Float64Array(2 * a.length)
  both.set(a)
  both.set(base.a, a.length)
  const wide = Float64Array.from({ length: 2 * b.length }, (_, i) => {
    const row = Math.floor(i / (2 * rank))
    const k = i % (2 * rank)
    return k < rank ? b[row * rank + k]! : -base.b[row * rank + k - rank]!
  })
  return { a: both, b: wide, rank: 2 * rank, alpha: alpha * (useRslora ? Math.SQRT2 : 2) }
}
