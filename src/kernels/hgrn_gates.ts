import type { Run } from "./run.ts"
import {
  hgrn_gates_backward,
  hgrn_gates_backward_decay,
  hgrn_gates_backward_input,
  hgrn_gates_backward_lower,
  hgrn_gates as kernel,
} from "./shaders.ts"
import { expectDtype, expectShape, fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

export interface HgrnGatesOptions {
  /** `[C]`, what the decays of each channel are at least; 0 without it. */
  readonly lower?: Tensor | undefined
  /**
   * `[T]`, u32: where the sequence of each position begins, for sequences that lie packed behind one another. The decay is
   * 0 where one begins, so that nothing of the one before comes into it. Without it, the decay is what it is everywhere.
   */
  readonly starts?: Tensor | undefined
}

/**
 * The gates of a linear recurrence `h = decay * h + input` (HGRN, Qin et al., arXiv:2311.04823; as in MatMul-free language
 * models, arXiv:2406.02528): `f = lower + (1 - lower) * sigmoid(z)`, `decay = f`, `input = SiLU(i) * (1 - f)`.
 *
 * @param i `[T, C]`
 * @param z `[T, C]`
 * @returns decay and input `[T, C]`
 */
export function hgrnGates(
  run: Run,
  i: Tensor,
  z: Tensor,
  { lower, starts }: HgrnGatesOptions = {},
): { decay: Tensor; input: Tensor } {
  const [T, C] = rows("hgrnGates", "i", i)
  expectShape("hgrnGates", "z", z, [T, C])
  if (lower) expectLower("hgrnGates", lower, C)
  if (starts) {
    expectShape("hgrnGates", "starts", starts, [T])
    expectDtype("hgrnGates", "starts", starts, "u32")
  }
  const [decay, input] = [run.empty([T, C]), run.empty([T, C])]
  const buffers = { i, z, lower: lower ?? z, starts: starts ?? z, decay, input }
  run.dispatch(kernel, buffers, { ...sizes(z, lower), packed: starts ? 1 : 0 }, workgroups(z))

  // The tape sums what both outputs pass back to f. Where sequences begin, f is not the decay: a tensor that only the tape
  // knows, and that no kernel writes, stands for it.
  const f = starts ? run.empty([T, C]) : decay
  run.tape?.record(f, (df) => {
    const dz = hgrnGatesBackward(run, z, lower, df)
    return lower
      ? [
          [z, dz],
          [lower, hgrnGatesBackwardLower(run, z, df)],
        ]
      : [[z, dz]]
  })
  run.tape?.record(input, (dinput) => {
    const { di, df } = hgrnGatesBackwardInput(run, i, z, lower, dinput)
    return [
      [i, di],
      [f, df],
    ]
  })
  if (starts) run.tape?.record(decay, (ddecay) => [[f, hgrnGatesBackwardDecay(run, ddecay, starts)]])
  return { decay, input }
}

/**
 * Gradient of f with respect to z: `dz = df * (1 - lower) * s * (1 - s)` with `s = sigmoid(z)`.
 *
 * @param z     `[T, C]`
 * @param lower `[C]`, or nothing for 0
 * @param df    `[T, C]`
 * @returns     `[T, C]`
 */
export function hgrnGatesBackward(run: Run, z: Tensor, lower: Tensor | undefined, df: Tensor): Tensor {
  const [T, C] = rows("hgrnGatesBackward", "z", z)
  expectShape("hgrnGatesBackward", "df", df, [T, C])
  if (lower) expectLower("hgrnGatesBackward", lower, C)
  const dz = run.empty([T, C])
  run.dispatch(hgrn_gates_backward, { z, lower: lower ?? z, df, dz }, sizes(z, lower), workgroups(z))
  return dz
}

/**
 * Gradient of f with respect to lower: `dlower = sum_t df[t] * (1 - sigmoid(z[t]))`.
 *
 * @param z  `[T, C]`
 * @param df `[T, C]`
 * @returns  `[C]`
 */
export function hgrnGatesBackwardLower(run: Run, z: Tensor, df: Tensor): Tensor {
  const [T, C] = rows("hgrnGatesBackwardLower", "z", z)
  expectShape("hgrnGatesBackwardLower", "df", df, [T, C])
  const dlower = run.empty([C])
  run.dispatch(hgrn_gates_backward_lower, { z, df, dlower }, { T, C4: C / 4 }, [Math.ceil(C / 32)])
  return dlower
}

/**
 * Gradients of the input, `SiLU(i) * (1 - f)`: `di = dinput * (1 - f) * SiLU'(i)` and `df = -dinput * SiLU(i)`.
 *
 * @param i      `[T, C]`
 * @param z      `[T, C]`
 * @param lower  `[C]`, or nothing for 0
 * @param dinput `[T, C]`
 * @returns      di and df `[T, C]`
 */
export function hgrnGatesBackwardInput(
  run: Run,
  i: Tensor,
  z: Tensor,
  lower: Tensor | undefined,
  dinput: Tensor,
): { di: Tensor; df: Tensor } {
  const [T, C] = rows("hgrnGatesBackwardInput", "i", i)
  expectShape("hgrnGatesBackwardInput", "z", z, [T, C])
  expectShape("hgrnGatesBackwardInput", "dinput", dinput, [T, C])
  if (lower) expectLower("hgrnGatesBackwardInput", lower, C)
  const [di, df] = [run.empty([T, C]), run.empty([T, C])]
  const buffers = { i, z, lower: lower ?? z, dinput, di, df }
  run.dispatch(hgrn_gates_backward_input, buffers, sizes(z, lower), workgroups(z))
  return { di, df }
}

/** Gradient of f by way of the decay, `[T, C]`: the decay's, but 0 where a sequence begins. */
function hgrnGatesBackwardDecay(run: Run, ddecay: Tensor, starts: Tensor): Tensor {
  const df = run.empty(ddecay.shape)
  const { n4, C4 } = sizes(ddecay, undefined)
  run.dispatch(hgrn_gates_backward_decay, { ddecay, starts, df }, { n4, C4 }, workgroups(ddecay))
  return df
}

function expectLower(op: string, lower: Tensor, C: number): void {
  expectShape(op, "lower", lower, [C])
  expectDtype(op, "lower", lower, "f32")
}

/** What the kernels want to know of x `[T, C]`. */
function sizes(x: Tensor, lower: Tensor | undefined): { n4: number; C4: number; bounded: number } {
  const [T, C] = x.shape as [number, number]
  return { n4: (T * C) / 4, C4: C / 4, bounded: lower ? 1 : 0 }
}

/** An invocation per four elements of x `[T, C]`. */
function workgroups(x: Tensor): [x: number, y: number] {
  return fold(Math.ceil(sizes(x, undefined).n4 / 64))
}
