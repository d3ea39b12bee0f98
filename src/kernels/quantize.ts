import type { Run } from "./run.ts"
import { quantize_q4, quantize_q8 } from "./shaders.ts"
import { expectShape, fold, rows } from "./shape.ts"
import type { Dtype, Matrix, Tensor } from "./tensor.ts"

/** Types that weights are rounded to in blocks of 32 columns; src/kernels/tensor.ts has their layout. */
export type QuantizedDtype = "q4" | "q8"

export function isQuantized(dtype: Dtype): dtype is QuantizedDtype {
  return dtype === "q4" || dtype === "q8"
}

/**
 * Rounds a matrix block by block: to codes and a scale, and in four bits a zero.
 *
 * @param weight  `[N, C]`, f32, bf16 or f16; C a multiple of 32
 * @param into    `[N, C]`, q4 or q8; its parts need not be the weight's
 * @param matters `[C]`: how much the squared error of each column counts in four bits. In eight bits each weight goes to the
 *                nearest, whatever it counts.
 */
export function quantize(run: Run, weight: Matrix, into: Matrix, matters: Tensor): void {
  const [N, C] = rows("quantize", "weight", weight)
  expectShape("quantize", "into", into, [N, C])
  if (!isQuantized(into.dtype)) throw new TypeError(`quantize: into is ${into.dtype}, expected q4 or q8`)
  if (weight.dtype !== "f32" && weight.dtype !== "bf16" && weight.dtype !== "f16") {
    throw new TypeError(`quantize: weight is ${weight.dtype}, expected f32, bf16 or f16`)
  }
  expectShape("quantize", "matters", matters, [C])
  for (const from of weight.parts) {
    for (const to of into.parts) {
      const first = Math.max(from.firstRow, to.firstRow)
      const rows = Math.min(from.firstRow + from.rows, to.firstRow + to.rows) - first
      if (rows <= 0) continue
      const params = { C4: C / 4, weight_row: first - from.firstRow, into_row: first - to.firstRow, rows }
      const groups = fold(Math.ceil((rows * C) / 32 / 64))
      const buffers = { weight: from.tensor, into: to.tensor }
      if (into.dtype === "q4") run.dispatch(quantize_q4, { ...buffers, matters }, params, groups)
      else run.dispatch(quantize_q8, buffers, params, groups)
    }
  }
}
