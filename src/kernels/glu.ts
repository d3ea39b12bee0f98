import type { Run } from "./run.ts"
import { glu as kernel } from "./shaders.ts"
import { expectShape, fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/**
 * `y = act(gate) * up` (Shazeer, arXiv:2002.05202), act being GELU in its tanh form or SiLU.
 *
 * @param gate `[T, F]`
 * @param up   `[T, F]`
 * @returns    `[T, F]`
 */
export function glu(run: Run, gate: Tensor, up: Tensor, activation: "gelu_tanh" | "silu"): Tensor {
  const [T, F] = rows("glu", "gate", gate)
  expectShape("glu", "up", up, [T, F])
  const y = run.empty([T, F])
  const n4 = (T * F) / 4
  const constants = { SILU: activation === "silu" ? 1 : 0 }
  run.dispatch(kernel, { gate, up, y }, { n4 }, fold(Math.ceil(n4 / 64)), constants)
  return y
}
