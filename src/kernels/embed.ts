import type { Run } from "./run.ts"
import { embed_backward, embed_backward_links, embed as kernel } from "./shaders.ts"
import { expectDtype, expectShape, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"
import { zero } from "./zero.ts"

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
  const [V, C] = rows("embed", "weight", weight)
  const x = run.empty([T, C])
  for (let i = 0; i < weight.parts.length; i += PARTS) {
    const parts = weight.parts.slice(i, i + PARTS)
    const upper = parts.at(-1)!
    const middle = parts.at(-2) ?? upper // nothing lies between the beginnings of two that are the same
    const lower = parts.at(-3) ?? middle
    const params = {
      T,
      C4: C / 4,
      lower_begin: lower.firstRow,
      middle_begin: middle.firstRow,
      upper_begin: upper.firstRow,
      end: upper.firstRow + upper.rows,
      scale,
    }
    const buffers = { ids, lower: lower.tensor, middle: middle.tensor, upper: upper.tensor, x }
    run.dispatch(kernel, buffers, params, [Math.ceil(C / 4 / 64), T])
  }
  run.tape?.record(x, (dx, sums) => [[weight, embedBackward(run, ids, dx, V, scale, sums(weight))]])
  return x
}

/** Parts of a table in one dispatch. */
const PARTS = 3

/**
 * Gradient of `embed`: `dweight[v] = scale * sum of dx[t] over the t with ids[t] = v`, in the order of t.
 *
 * @param ids  `[T]`, u32
 * @param dx   `[T, C]`
 * @param onto `[V, C]`, what to add it to in place; a new matrix without
 * @returns    `[V, C]`
 */
export function embedBackward(run: Run, ids: Tensor, dx: Tensor, V: number, scale: number, onto?: Matrix): Matrix {
  expectDtype("embedBackward", "ids", ids, "u32")
  const [T, C] = rows("embedBackward", "dx", dx)
  expectShape("embedBackward", "ids", ids, [T])
  const links = run.empty([T, 2], "u32")
  run.dispatch(embed_backward_links, { ids, links }, { T }, [Math.ceil(T / 64)])
  if (onto) expectShape("embedBackward", "onto", onto, [V, C])
  const dweight = onto ?? run.emptyMatrix([V, C])
  for (const part of dweight.parts) {
    if (!onto) zero(run, part.tensor)
    const params = { T, C4: C / 4, first_row: part.firstRow, rows: part.rows, scale }
    run.dispatch(embed_backward, { ids, links, dx, dweight: part.tensor }, params, [Math.ceil(C / 4 / 64), T])
  }
  return dweight
}
