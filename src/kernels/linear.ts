import type { AttendedParts } from "./attend.ts"
import { dequantize } from "./dequantize.ts"
import { linearRounded, roundsTokens } from "./linear_rounded.ts"
import { linearTernary, linearTernaryEach } from "./linear_ternary.ts"
import { linearSubgroup, linearTiled } from "./linear_tiled.ts"
import { fewTokens, holdsToken, linearVector, type Product } from "./linear_vector.ts"
import type { Run } from "./run.ts"
import {
  linear_backward_input,
  linear_backward_input_subgroup,
  linear_backward_weight,
  linear_backward_weight_subgroup,
} from "./shaders.ts"
import { expectShape, rows } from "./shape.ts"
import { FEW, sharesFew, sharesLoads } from "./subgroups.ts"
import { type Matrix, type Tensor, view } from "./tensor.ts"

/**
 * `y = x weight^T`. Where x is int8 and the weight ternary the sums are of integers, and so exact. Up to 16 tokens
 * meet weights in q4 or q8 in eight bits, unless a tape records, and what comes of each is to the bit what it gives alone.
 *
 * @param x      `[T, C]`, f32, or int8 as `bitNorm` gives it
 * @param weight `[N, C]`; ternary where x is int8
 * @returns      `[T, N]`
 */
export function linear(run: Run, x: Tensor, weight: Matrix): Tensor {
  const [T, C] = rows("linear", "x", x)
  const [N] = weight.shape
  expectShape("linear", "weight", weight, [N, C])
  expectTypes(x, weight)
  const y = run.empty([T, N])
  for (const { firstRow, rows, tensor } of weight.parts) record(run, { x, weight: tensor, y, firstRow, rows })
  run.tape?.record(y, (dy, sums) => {
    const dweight = sums(weight)
    return [
      [x, linearBackwardInput(run, dy, weight)],
      [weight, linearBackwardWeight(run, dy, x, dweight && { dweight, firstRow: 0, add: true })],
    ]
  })
  return y
}

/** Whether {@link linearOfParts} takes so many tokens and such a weight `[N, C]`. */
export function readsParts(run: Run, T: number, { shape: [, C], parts }: Matrix): boolean {
  const alone = T === 1 && holdsToken(run.device, C)
  return !run.tape && parts.every(({ tensor }) => alone || roundsTokens(run, [T, C], tensor))
}

/**
 * {@link linear} of what attention gives of parts of the keys, put together on the way: so no dispatch stands between the two.
 *
 * @param weight `[N, H * D]`, one that {@link readsParts} finds good
 * @returns      `[T, N]`
 */
export function linearOfParts(run: Run, attended: AttendedParts, weight: Matrix): Tensor {
  const [parts, T, H, D] = attended.y.shape as [number, number, number, number]
  const [N, C] = weight.shape
  expectShape("linearOfParts", "weight", weight, [N, H * D])
  if (parts === 1) return linear(run, view(attended.y, [T, C]), weight)
  const y = run.empty([T, N])
  for (const { firstRow, rows, tensor } of weight.parts) {
    const product = { x: attended.y, lse: attended.lse, weight: tensor, y, firstRow, rows }
    if (roundsTokens(run, [T, C], tensor)) linearRounded(run, product)
    else linearVector(run, product)
  }
  return y
}

/** Chooses the kernel of a product. */
function record(run: Run, product: Product): void {
  const [T, C] = product.x.shape as [number, number]
  if (product.x.dtype === "int8") linearTernary(run, product)
  else if (roundsTokens(run, [T, C], product.weight)) linearRounded(run, product)
  else if (T > 1 && T <= FEW && sharesFew(run)) linearSubgroup(run, product)
  else if (T <= fewTokens(run.device)) linearVector(run, product)
  else linearTiled(run, product)
}

/**
 * Products of tokens with a weight each, `y[m] = x[m] weight[m]^T`, in one dispatch. No gradient is recorded.
 *
 * @param x      `[M, C]`, int8
 * @param weight `[M*N, C]`, ternary, in one part; N a multiple of 4
 * @returns      `[M, N]`
 */
export function linearEach(run: Run, x: Tensor, weight: Matrix): Tensor {
  const [M, C] = rows("linearEach", "x", x)
  const N = weight.shape[0] / M
  expectShape("linearEach", "weight", weight, [M * N, C])
  if (N % 4 !== 0) throw new RangeError(`linearEach: weight has ${N} rows for each of ${M}, expected a multiple of 4`)
  if (weight.parts.length > 1) {
    throw new RangeError(`linearEach: weight is in ${weight.parts.length} parts, expected one`)
  }
  if (!expectTypes(x, weight)) throw new TypeError("linearEach: x is f32, expected int8")
  const y = run.empty([M, N])
  linearTernaryEach(run, { x, weight: weight.parts[0]!.tensor, y })
  return y
}

/** Whether x is int8; refuses what there is no product for. */
function expectTypes(x: Tensor, weight: Matrix): boolean {
  if (x.dtype === "f32") return false
  if (x.dtype !== "int8") throw new TypeError(`linear: x is ${x.dtype}, expected f32 or int8`)
  if (weight.dtype !== "ternary")
    throw new TypeError(`linear: weight is ${weight.dtype}, expected ternary for an int8 x`)
  return true
}

/**
 * Gradient of `linear` with respect to x: `dx = dy weight`.
 *
 * @param dy     `[T, N]`
 * @param weight `[N, C]`
 * @param onto   `[T, C]`, what to add it to in place; a new tensor without
 * @returns      `[T, C]`
 */
export function linearBackwardInput(run: Run, dy: Tensor, weight: Matrix, onto?: Tensor): Tensor {
  const [N, C] = rows("linearBackwardInput", "weight", weight)
  const T = dy.shape[0] ?? 0
  expectShape("linearBackwardInput", "dy", dy, [T, N])
  if (onto) expectShape("linearBackwardInput", "onto", onto, [T, C])
  const dx = onto ?? run.empty([T, C])
  for (const [i, { firstRow, rows, tensor }] of weight.parts.entries()) {
    const params = { T, C4: C / 4, N, first_row: firstRow, rows, accumulate: onto || i > 0 ? 1 : 0 }
    const buffers = { dy, weight: tensor, dx }
    if (T > 8 && fourByFour(N, firstRow, rows) && sharesLoads(run, T * C * rows)) {
      run.dispatch(linear_backward_input_subgroup, buffers, params, [Math.ceil(C / 128), Math.ceil(T / 16)])
    } else run.dispatch(linear_backward_input, buffers, params, [Math.ceil(C / 64), Math.ceil(T / 64)])
  }
  return dx
}

/**
 * Gradient of `linear` with respect to its weight: `dweight = dy^T x`.
 *
 * @param dy   `[T, N]`
 * @param x    `[T, C]`, f32, or int8 as `bitNorm` gives it
 * @param into where to put it, or to add it where `add` says so: rows `[firstRow, firstRow + N)` of a matrix of width C;
 *             a new matrix without
 * @returns    `[N, C]`, or the matrix given
 */
export function linearBackwardWeight(
  run: Run,
  dy: Tensor,
  x: Tensor,
  into?: { readonly dweight: Matrix; readonly firstRow: number; readonly add: boolean },
): Matrix {
  const [T, C] = rows("linearBackwardWeight", "x", x)
  const N = dy.shape[1] ?? 0
  expectShape("linearBackwardWeight", "dy", dy, [T, N])
  const { dweight, firstRow, add } = into ?? { dweight: run.emptyMatrix([N, C]), firstRow: 0, add: false }
  expectShape("linearBackwardWeight", "dweight", dweight, [Math.max(dweight.shape[0], firstRow + N), C])
  const values = x.dtype === "int8" ? dequantize(run, x) : x
  for (const part of dweight.parts) {
    const from = Math.max(firstRow, part.firstRow)
    const rows = Math.min(firstRow + N, part.firstRow + part.rows) - from
    if (rows <= 0) continue
    const params = {
      T,
      C4: C / 4,
      N,
      first_column: from - firstRow,
      first_row: from - part.firstRow,
      rows,
      accumulate: add ? 1 : 0,
    }
    const buffers = { dy, x: values, dweight: part.tensor }
    if (rows > 8 && fourByFour(N, params.first_column) && sharesLoads(run, T * C * rows)) {
      run.dispatch(linear_backward_weight_subgroup, buffers, params, [Math.ceil(C / 128), Math.ceil(rows / 16)])
    } else run.dispatch(linear_backward_weight, buffers, params, [Math.ceil(C / 64), Math.ceil(rows / 64)])
  }
  return dweight
}

/** Whether rows of dy, and what begins within them, can be read four columns at once. */
function fourByFour(...counts: readonly number[]): boolean {
  return counts.every((count) => count % 4 === 0)
}
