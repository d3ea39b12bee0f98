import { type Activation, gluHalves } from "./glu.ts"
import { linear } from "./linear.ts"
import { gatedRounded, roundsTokens } from "./linear_rounded.ts"
import { fewTokens, gatedVector } from "./linear_vector.ts"
import type { Run } from "./run.ts"
import { expectShape, rows } from "./shape.ts"
import { sharesFew } from "./subgroups.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/**
 * `y = act(x gate^T) * (x up^T)` (Shazeer, arXiv:2002.05202), the rows of gate and of up lying behind one another in one weight.
 * One dispatch for a single token, and for few where their product neither shares loads nor is in eight bits; for more, on a tape,
 * or where the weight is in parts, those of `linear` and `gluHalves`.
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
  const tensor = weight.parts[0]!.tensor
  const rounded = roundsTokens(run, [T, C], tensor)
  const together = T === 1 || (T <= fewTokens(run.device) && !rounded && !sharesFew(run))
  if (!together || run.tape || weight.parts.length > 1) return gluHalves(run, linear(run, x, weight), activation)
  const y = run.empty([T, N / 2])
  const record = rounded ? gatedRounded : gatedVector
  record(run, x, tensor, y, activation)
  return y
}
