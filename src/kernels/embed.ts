import type { Run } from "./run.ts"
import { embed as kernel } from "./shaders.ts"
import { expectDtype, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/**
 * `x[t] = scale * weight[ids[t]]`.
 *
 * @param ids    `[T]`, u32, each below V
 * @param weight `[V, C]`
 * @returns      `[T, C]`
 */
export function embed(run: Run, ids: Tensor, weight: Matrix, scale: number): Tensor {
  expectDtype("embed", "ids", ids, "u32")
  const T = ids.shape[0]!
  const [, C] = rows("embed", "weight", weight)
  const x = run.empty([T, C])
  for (const part of weight.parts) {
    const params = { T, C4: C / 4, first_row: part.firstRow, rows: part.rows, scale }
    run.dispatch(kernel, { ids, weight: part.tensor, x }, params, [Math.ceil(C / 4 / 64), T])
  }
  return x
}
