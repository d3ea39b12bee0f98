import type { Run } from "./run.ts"
import { linear_subgroup, ternary_linear, linear as tiled } from "./shaders.ts"
import { sharesLoads } from "./subgroups.ts"
import type { Tensor } from "./tensor.ts"

/**
 * Records the product of several tokens and a part of a matrix.
 *
 * @param x      `[T, C]`; int8 where the weight is ternary and x was rounded for it
 * @param weight `[rows, C]`
 * @param y      `[T, N]`, of which columns `[firstRow, firstRow + rows)` are filled
 */
export function linearTiled(
  run: Run,
  { x, weight, y, firstRow, rows }: { x: Tensor; weight: Tensor; y: Tensor; firstRow: number; rows: number },
): void {
  const [T, N] = y.shape as [number, number]
  const C = x.shape.at(-1)!
  const params = { T, C4: C / 4, N, first_row: firstRow, rows }
  if (x.dtype !== "int8" && T > 4 && sharesLoads(run, T * C * rows)) {
    run.dispatch(linear_subgroup, { x, weight, y }, params, [Math.ceil(rows / 128), Math.ceil(T / 16)])
    return
  }
  const kernel = x.dtype === "int8" ? ternary_linear : tiled
  run.dispatch(kernel, { x, weight, y }, params, [Math.ceil(rows / 32), Math.ceil(T / 32)])
}
