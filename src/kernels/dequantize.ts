import type { Run } from "./run.ts"
import { dequantize as kernel } from "./shaders.ts"
import { expectDtype, fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/**
 * The numbers that int8 codes stand for. Their gradient is that of what was rounded (straight-through).
 *
 * @param x `[T, C]`, int8
 * @returns `[T, C]`, f32
 */
export function dequantize(run: Run, x: Tensor): Tensor {
  const [T, C] = rows("dequantize", "x", x)
  expectDtype("dequantize", "x", x, "int8")
  const y = run.empty([T, C])
  run.dispatch(kernel, { x, y }, { T, C4: C / 4 }, fold(Math.ceil((T * C) / 4 / 64)))
  run.tape?.record(y, (dy) => [[x, dy]])
  return y
}
