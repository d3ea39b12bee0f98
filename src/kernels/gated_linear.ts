import { type Activation, gluHalves } from "./glu.ts"
import { linear } from "./linear.ts"
import { fitsWorkgroup, gatedVector } from "./linear_vector.ts"
import { isQuantized } from "./quantize.ts"
import type { Run } from "./run.ts"
import { gated_linear_vector } from "./shaders.ts"
import { expectShape, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/**
 * `y = act(x gate^T) * (x up^T)` (Shazeer, arXiv:2002.05202), the rows of gate and of up lying behind one another in one weight.
 * One dispatch for a single token; for several, on a tape, or where the weight is in parts, those of `linear` and `gluHalves`.
 *
 * @param x      `[T, C]`, f32
 * @param weight `[2 F, C]`, the gate first; F a multiple of 4
 * @returns      `[T, F]`
 */
export function gatedLinear(run: Run, x: Tensor, weight: Matrix, activation: Activation): Tensor {
  const [T, C] = rows("gatedLinear", "x", x)
  const N = weight.shape[0]
  expectShape("gatedLinear", "weight", weight, [N, C])
  if (x.dtype !== "f32") throw new TypeError(`gatedLinear: x is ${x.dtype}, expected f32`)
  if (N % 8 !== 0) throw new RangeError(`gatedLinear: weight has ${N} rows, expected a multiple of 8`)
  if (T > 1 || run.tape || weight.parts.length > 1) return gluHalves(run, linear(run, x, weight), activation)
  const y = run.empty([1, N / 2])
  const { tensor } = weight.parts[0]!
  if (isQuantized(tensor.dtype) && fitsWorkgroup(run.device, C)) gatedVector(run, x, tensor, y, activation)
  else {
    const groups = Math.ceil(N / 4 / 32) // of 32 invocations, each for two elements of y
    const constants = { SILU: activation === "silu" ? 1 : 0 }
    run.dispatch(gated_linear_vector, { x, weight: tensor, y }, { C4: C / 4, F2: N / 4 }, [groups], constants)
  }
  return y
}
