import { linear, linearBackwardInput, linearBackwardWeight } from "./linear.ts"
import type { Run } from "./run.ts"
import { expectShape, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/**
 * Frobenius decay of a low-rank layer (Khodak et al., arXiv:2105.01029): the gradients of `1/2 ||u v||_F^2`, which are
 * `du = u (v v^T)` and `dv = (u^T u) v`, without the product itself.
 *
 * @param u `[N, R]`, f32, in one part
 * @param v `[R, C]`, f32, in one part
 * @returns du `[N, R]`, dv `[R, C]`
 */
export function productDecay(run: Run, u: Matrix, v: Matrix): { du: Tensor; dv: Tensor } {
  const [, R] = rows("productDecay", "u", u)
  const [, C] = rows("productDecay", "v", v)
  expectShape("productDecay", "v", v, [R, C])
  const [left, right] = [whole("u", u), whole("v", v)]
  const ofRight = linear(run, right, v) // v v^T, [R, R]
  const ofLeft = run.empty([R, R]) // u^T u
  linearBackwardWeight(run, left, left, { dweight: asMatrix(ofLeft, R, R), firstRow: 0, add: false })
  return { du: linear(run, left, asMatrix(ofRight, R, R)), dv: linearBackwardInput(run, ofLeft, v) }
}

/** The one part of a factor. */
function whole(name: string, { dtype, parts }: Matrix): Tensor {
  if (dtype !== "f32") throw new TypeError(`productDecay: ${name} is ${dtype}, expected f32`)
  if (parts.length !== 1) throw new RangeError(`productDecay: ${name} has ${parts.length} parts, expected 1`)
  return parts[0]!.tensor
}

/** A tensor seen as a matrix. */
function asMatrix(tensor: Tensor, rows: number, columns: number): Matrix {
  return { shape: [rows, columns], dtype: "f32", parts: [{ firstRow: 0, rows, tensor }] }
}
