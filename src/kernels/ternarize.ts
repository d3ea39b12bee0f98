import type { Run } from "./run.ts"
import { abs_mean, abs_sum, ternarize as kernel } from "./shaders.ts"
import { expectShape, fold, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/** Elements that a workgroup of abs_sum adds up. */
const PER_GROUP = 4096

/**
 * Rounds a matrix to trits times one scale, the mean of its absolute values but at least 1e-5 (BitNet b1.58,
 * arXiv:2402.17764). No gradient is recorded: that of `linear` with respect to `into` is the weight's (straight-through).
 *
 * @param weight `[N, C]`, f32, bf16 or f16
 * @param into   `[N, C]`, ternary; its parts need not be the weight's
 */
export function ternarize(run: Run, weight: Matrix, into: Matrix): void {
  const [N, C] = rows("ternarize", "weight", weight)
  expectShape("ternarize", "into", into, [N, C])
  if (into.dtype !== "ternary") throw new TypeError(`ternarize: into is ${into.dtype}, expected ternary`)
  if (weight.dtype === "ternary") throw new TypeError("ternarize: weight is ternary, expected f32, bf16 or f16")
  const scale = absMean(run, weight)
  for (const from of weight.parts) {
    for (const to of into.parts) {
      const first = Math.max(from.firstRow, to.firstRow)
      const rows = Math.min(from.firstRow + from.rows, to.firstRow + to.rows) - first
      if (rows <= 0) continue
      const params = { C4: C / 4, weight_row: first - from.firstRow, into_row: first - to.firstRow, rows }
      const words = rows * (C / 16 + 1)
      run.dispatch(kernel, { weight: from.tensor, scale, into: to.tensor }, params, fold(Math.ceil(words / 64)))
    }
  }
}

/** The mean of the absolute values of all parts, but at least 1e-5. */
function absMean(run: Run, { shape: [N, C], parts }: Matrix): Tensor {
  const groupsOf = (rows: number) => Math.ceil((rows * C) / PER_GROUP)
  const slots = parts.reduce((sum, { rows }) => sum + groupsOf(rows), 0)
  const [partials, mean] = [run.empty([slots]), run.empty([1])]
  let slot = 0
  for (const { rows, tensor } of parts) {
    const groups = groupsOf(rows)
    run.dispatch(abs_sum, { weight: tensor, partials }, { n4: (rows * C) / 4, slot, groups }, fold(groups))
    slot += groups
  }
  run.dispatch(abs_mean, { partials, mean }, { slots, count: N * C }, [1])
  return mean
}
