import type { Run } from "./run.ts"
import { glu_backward, glu as kernel } from "./shaders.ts"
import { expectShape, fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

export type Activation = "gelu_tanh" | "silu"

/**
 * `y = act(gate) * up` (Shazeer, arXiv:2002.05202), act being GELU in its tanh form or SiLU.
 *
 * @param gate `[T, F]`
 * @param up   `[T, F]`
 * @returns    `[T, F]`
 */
export function glu(run: Run, gate: Tensor, up: Tensor, activation: Activation): Tensor {
  const [T, F] = rows("glu", "gate", gate)
  expectShape("glu", "up", up, [T, F])
  const y = run.empty([T, F])
  const n4 = (T * F) / 4
  run.dispatch(kernel, { gate, up, y }, { n4 }, fold(Math.ceil(n4 / 64)), flavour(activation))
  run.tape?.record(y, (dy) => {
    const { dgate, dup } = gluBackward(run, gate, up, dy, activation)
    return [
      [gate, dgate],
      [up, dup],
    ]
  })
  return y
}

/**
 * Gradients of `glu`: `dgate = dy * up * act'(gate)` and `dup = dy * act(gate)`.
 *
 * @param gate `[T, F]`
 * @param up   `[T, F]`
 * @param dy   `[T, F]`
 * @returns    dgate and dup `[T, F]`
 */
export function gluBackward(
  run: Run,
  gate: Tensor,
  up: Tensor,
  dy: Tensor,
  activation: Activation,
): { dgate: Tensor; dup: Tensor } {
  const [T, F] = rows("gluBackward", "gate", gate)
  expectShape("gluBackward", "up", up, [T, F])
  expectShape("gluBackward", "dy", dy, [T, F])
  const [dgate, dup] = [run.empty([T, F]), run.empty([T, F])]
  const n4 = (T * F) / 4
  run.dispatch(glu_backward, { gate, up, dy, dgate, dup }, { n4 }, fold(Math.ceil(n4 / 64)), flavour(activation))
  return { dgate, dup }
}

function flavour(activation: Activation): { SILU: number } {
  return { SILU: activation === "silu" ? 1 : 0 }
}
