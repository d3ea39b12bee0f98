import type { Run } from "./run.ts"
import { row_norms as kernel } from "./shaders.ts"
import { expectDtype, expectShape, fold, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/**
 * `norm[n] = || weight[n] + scale * (b a)[n] ||`: the row norms of an adapted weight, for DoRA (Liu et al.,
 * arXiv:2402.09353). No gradient goes through them (section 4.3 there).
 *
 * @param weight `[N, C]`
 * @param a      `[R, C]`, f32, in one part
 * @param b      `[N, R]`, f32; its parts need not be the weight's
 * @returns      `[N]`
 */
export function rowNorms(
  run: Run,
  weight: Matrix,
  { a, b }: { readonly a: Matrix; readonly b: Matrix },
  scale: number,
): Tensor {
  const [N, C] = rows("rowNorms", "weight", weight)
  const [, R] = rows("rowNorms", "b", b)
  expectShape("rowNorms", "b", b, [N, R])
  expectShape("rowNorms", "a", a, [R, C])
  if (a.parts.length !== 1) throw new RangeError(`rowNorms: a has ${a.parts.length} parts, expected 1`)
  for (const [name, { parts }] of [["a", a] as const, ["b", b] as const]) {
    for (const { tensor } of parts) expectDtype("rowNorms", name, tensor, "f32")
  }
  const norm = run.empty([N])
  for (const w of weight.parts) {
    for (const p of b.parts) {
      const from = Math.max(w.firstRow, p.firstRow)
      const rows = Math.min(w.firstRow + w.rows, p.firstRow + p.rows) - from
      if (rows <= 0) continue
      const buffers = { weight: w.tensor, a: a.parts[0]!.tensor, b: p.tensor, norm }
      const starts = { first_row: from, weight_row: from - w.firstRow, b_row: from - p.firstRow }
      run.dispatch(kernel, buffers, { C4: C / 4, R4: R / 4, ...starts, rows, scale }, fold(rows))
    }
  }
  return norm
}
