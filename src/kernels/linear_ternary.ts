import type { Product } from "./linear_vector.ts"
import type { Run } from "./run.ts"
import { ternary_linear, ternary_linear_vector } from "./shaders.ts"

/** Rows of a workgroup of ternary_linear_vector: 32 invocations of 8. */
const ROWS = 256

/** Records the product of tokens in int8 and a part of a ternary matrix; its sums are of integers, and so exact. */
export function linearTernary(run: Run, { x, weight, y, firstRow: first_row, rows }: Product): void {
  const [T, N] = y.shape as [number, number]
  const params = { T, C4: x.shape.at(-1)! / 4, N, first_row, rows }
  if (T > 1 && run.device.tuning.ternary === "dot4") {
    run.dispatch(ternary_linear, { x, weight, y }, params, [Math.ceil(rows / 32), Math.ceil(T / 32)])
    return
  }
  const TOKENS = T > 2 ? 4 : T
  const groups = [Math.ceil(rows / ROWS), Math.ceil(T / TOKENS)] as const
  run.dispatch(ternary_linear_vector, { x, x4: x, weight, y }, { ...params, own: 0 }, groups, { TOKENS })
}

/**
 * Records the products of tokens in int8 with ternary rows of their own.
 *
 * @param x      `[M, C]`
 * @param weight `[M*N, C]`, N a multiple of 4
 * @param y      `[M, N]`
 */
export function linearTernaryEach(run: Run, { x, weight, y }: Pick<Product, "x" | "weight" | "y">): void {
  const [T, N] = y.shape as [number, number]
  const params = { T, C4: x.shape.at(-1)! / 4, N, first_row: 0, rows: N, own: N / 4 }
  run.dispatch(ternary_linear_vector, { x, x4: x, weight, y }, params, [Math.ceil(N / ROWS), T])
}
