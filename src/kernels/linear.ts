import type { Run } from "./run.ts"
import { linear as tiled, linear_vector as vector } from "./shaders.ts"
import { expectShape, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/**
 * `y = x weight^T`.
 *
 * @param x      `[T, C]`
 * @param weight `[N, C]`
 * @returns      `[T, N]`
 */
export function linear(run: Run, x: Tensor, weight: Matrix): Tensor {
  const [T, C] = rows("linear", "x", x)
  const [N] = weight.shape
  expectShape("linear", "weight", weight, [N, C])
  const y = run.empty([T, N])
  for (const { firstRow, rows, tensor } of weight.parts) {
    const buffers = { x, weight: tensor, y }
    if (T === 1) {
      run.dispatch(vector, buffers, { C4: C / 4, first_row: firstRow, rows }, [Math.ceil(rows / 4 / 32)])
    } else {
      const params = { T, C4: C / 4, N, first_row: firstRow, rows }
      run.dispatch(tiled, buffers, params, [Math.ceil(rows / 32), Math.ceil(T / 32)])
    }
  }
  return y
}
