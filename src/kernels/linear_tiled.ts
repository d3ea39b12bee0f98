import type { Product } from "./linear_vector.ts"
import type { Run } from "./run.ts"
import { linear_subgroup, linear as tiled } from "./shaders.ts"
import { sharesLoads } from "./subgroups.ts"

/** Records the product of many tokens, in f32, and a part of a matrix. */
export function linearTiled(run: Run, product: Product): void {
  const { x, weight, y, firstRow: first_row, rows } = product
  const [T, N] = y.shape as [number, number]
  const C = x.shape.at(-1)!
  if (sharesLoads(run, T * C * rows)) linearSubgroup(run, product)
  else {
    const params = { T, C4: C / 4, N, first_row, rows }
    run.dispatch(tiled, { x, weight, y }, params, [Math.ceil(rows / 32), Math.ceil(T / 32)])
  }
}

/** Records the product of tokens, in f32, and a part of a matrix on a device with subgroups: in tiles of 4, 8 or 16 tokens. */
export function linearSubgroup(run: Run, { x, weight, y, firstRow: first_row, rows }: Product): void {
  const [T, N] = y.shape as [number, number]
  const QUADS = T > 8 ? 4 : T > 4 ? 2 : 1
  const params = { T, C4: x.shape.at(-1)! / 4, N, first_row, rows }
  const groups = [Math.ceil(rows / 128), Math.ceil(T / (4 * QUADS))] as const
  run.dispatch(linear_subgroup, { x, weight, y }, params, groups, { QUADS })
}
