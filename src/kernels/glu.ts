import type { Run } from "./run.ts"
import { glu_backward, glu_halves, glu_halves_backward, glu as kernel } from "./shaders.ts"
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

/**
 * `y = act(gate) * up`, both being halves of one tensor's rows: what a single product gives that makes both.
 *
 * @param x `[T, 2 F]`, the gate first
 * @returns `[T, F]`
 */
export function gluHalves(run: Run, x: Tensor, activation: Activation): Tensor {
  const [T, F] = halves("gluHalves", x)
  const y = run.empty([T, F])
  const n4 = (T * F) / 4
  run.dispatch(glu_halves, { x, y }, { n4, F4: F / 4 }, fold(Math.ceil(n4 / 64)), flavour(activation))
  run.tape?.record(y, (dy) => [[x, gluHalvesBackward(run, x, dy, activation)]])
  return y
}

/**
 * Gradient of `gluHalves`: those of `glu`, side by side.
 *
 * @param x  `[T, 2 F]`
 * @param dy `[T, F]`
 * @returns  `[T, 2 F]`
 */
export function gluHalvesBackward(run: Run, x: Tensor, dy: Tensor, activation: Activation): Tensor {
  const [T, F] = halves("gluHalvesBackward", x)
  expectShape("gluHalvesBackward", "dy", dy, [T, F])
  const dx = run.empty([T, 2 * F])
  const n4 = (T * F) / 4
  run.dispatch(glu_halves_backward, { x, dy, dx }, { n4, F4: F / 4 }, fold(Math.ceil(n4 / 64)), flavour(activation))
  return dx
}

/** The rows of x and half their width, after checking that halves are whole vec4s. */
function halves(op: string, x: Tensor): [T: number, F: number] {
  const [T, C] = rows(op, "x", x)
  if (C % 8 !== 0) throw new RangeError(`${op}: x has rows of ${C}, expected a multiple of 8`)
  return [T, C / 2]
}

function flavour(activation: Activation): { SILU: number } {
  return { SILU: activation === "silu" ? 1 : 0 }
}
