import type { Run } from "./run.ts"
import {
  expert_mix_backward_gates,
  expert_mix_backward_input,
  expert_mix_backward_weight,
  expert_mix_gates,
  expert_mix_scale,
  expert_mix as kernel,
} from "./shaders.ts"
import { expectShape, fold, rows } from "./shape.ts"
import { softcap, softcapBackward } from "./softcap.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/** What a token's gates are: shares of 1, numbers from 0 to 1 each by itself, or 1 for every expert. */
export type ExpertGate = "softmax" | "sigmoid" | "none"
export type ExpertActivation = "tanh" | "identity"

export interface ExpertOptions {
  /** How many experts lie side by side, K. Their rank R is what the width leaves to each: a multiple of 4. */
  readonly experts: number
  readonly gate: ExpertGate
  readonly activation: ExpertActivation
}

/**
 * The middle of a gated mixture of low-rank experts (DCN-M, Wang et al., arXiv:2008.13535): each expert's own matrix
 * between two activations, times its gate.
 *
 * `y[t, k R + j] = G_k(logits[t]) * act(sum_i c[k R + j, i] * act(h[t, k R + i]))`
 *
 * @param h      `[T, K R]`
 * @param logits `[T, K]`, or undefined where there are no gates
 * @param c      `[K R, R]`, in one part
 * @returns      `[T, K R]`
 */
export function expertMix(run: Run, h: Tensor, logits: Tensor | undefined, c: Matrix, options: ExpertOptions): Tensor {
  expectExperts("expertMix", h, c, options)
  expectGates(h, logits, options)
  const gates = logits && expertGates(run, logits, options.gate)
  const y = mix(run, activate(run, h, options), gates, c, options)
  run.tape?.record(y, (dy, sums) => {
    const { dh, dc } = expertMixBackward(run, h, gates, c, dy, options, sums(c))
    const known = [[h, dh] as const, [c, dc] as const]
    return logits && gates
      ? [...known, [logits, expertMixBackwardGates(run, gates, y, dy, options.gate)] as const]
      : known
  })
  return y
}

/**
 * Gradients of `expertMix` with respect to h and c. What lies between is computed again, so that nothing is kept for it.
 *
 * @param h     `[T, K R]`
 * @param gates `[T, K]`, what came of the logits
 * @param c     `[K R, R]`
 * @param dy    `[T, K R]`
 * @param onto  `[K R, R]`, what to add dc to in place; a new matrix without
 * @returns     dh `[T, K R]`, dc `[K R, R]`
 */
export function expertMixBackward(
  run: Run,
  h: Tensor,
  gates: Tensor | undefined,
  c: Matrix,
  dy: Tensor,
  options: ExpertOptions,
  onto?: Matrix,
): { dh: Tensor; dc: Matrix } {
  const { T, K, R } = expectExperts("expertMixBackward", h, c, options)
  expectShape("expertMixBackward", "dy", dy, [T, K * R])
  const bent = options.activation === "tanh"
  const a = activate(run, h, options)
  const gated = gates ? scaleExperts(run, dy, gates) : dy
  const dp = bent ? softcapBackward(run, mix(run, a, undefined, c, options), gated, 1) : gated // of c's product
  const sizes = { T, K, R4: R / 4 }
  const da = run.empty([T, K * R])
  const buffers = { dy: dp, weight: whole("expertMixBackward", "c", c), dx: da }
  run.dispatch(expert_mix_backward_input, buffers, sizes, fold(Math.ceil((T * K * R) / 4 / 64)))
  const dc = onto ?? run.emptyMatrix([K * R, R])
  expectShape("expertMixBackward", "onto", dc, [K * R, R])
  const dweight = whole("expertMixBackward", "onto", dc)
  const params = { ...sizes, accumulate: onto ? 1 : 0 }
  run.dispatch(expert_mix_backward_weight, { dy: dp, a, dweight }, params, fold(Math.ceil((K * R * R) / 16 / 8)))
  return { dh: bent ? softcapBackward(run, a, da, 1) : da, dc }
}

/**
 * Gradient of `expertMix` with respect to the gates' logits, by its result.
 *
 * @param gates `[T, K]`, what came of the logits
 * @param y     `[T, K R]`, what came of it all
 * @param dy    `[T, K R]`
 * @returns     `[T, K]`
 */
export function expertMixBackwardGates(run: Run, gates: Tensor, y: Tensor, dy: Tensor, gate: ExpertGate): Tensor {
  const [T, width] = rows("expertMixBackwardGates", "y", y)
  expectShape("expertMixBackwardGates", "dy", dy, [T, width])
  const K = gates.shape[1]!
  const dlogits = run.empty([T, K])
  const params = { T, K, R4: width / K / 4, softmax: gate === "softmax" ? 1 : 0 }
  run.dispatch(expert_mix_backward_gates, { gates, y, dy, dlogits }, params, [Math.ceil(T / 64)])
  return dlogits
}

/** act(x) */
function activate(run: Run, x: Tensor, { activation }: ExpertOptions): Tensor {
  return activation === "tanh" ? softcap(run, x, 1) : x
}

/** logits `[T, K]` -> gates `[T, K]` */
function expertGates(run: Run, logits: Tensor, gate: ExpertGate): Tensor {
  const [T, K] = logits.shape as [number, number]
  const gates = run.empty([T, K])
  const params = { T, K, softmax: gate === "softmax" ? 1 : 0 }
  run.dispatch(expert_mix_gates, { logits, gates }, params, [Math.ceil(T / 64)])
  return gates
}

/** What `expertMix` makes of `a = act(h)`; without its gates where they are undefined. */
function mix(run: Run, a: Tensor, gates: Tensor | undefined, c: Matrix, options: ExpertOptions): Tensor {
  const [T, width] = a.shape as [number, number]
  const K = options.experts
  const y = run.empty([T, width])
  const buffers = { a, gates: gates ?? a, weight: whole("expertMix", "c", c), y }
  const switches = { activate: options.activation === "tanh" ? 1 : 0, gated: gates ? 1 : 0 }
  const groups = fold(Math.ceil((T * width) / 4 / 64))
  run.dispatch(kernel, buffers, { T, K, R4: width / K / 4, ...switches }, groups)
  return y
}

/** `gates[t, k] * x[t, k R + j]` of x `[T, K R]` and gates `[T, K]`. */
function scaleExperts(run: Run, x: Tensor, gates: Tensor): Tensor {
  const [T, width] = x.shape as [number, number]
  const y = run.empty([T, width])
  const n4 = (T * width) / 4
  const R4 = width / gates.shape[1]! / 4
  run.dispatch(expert_mix_scale, { x, gates, y }, { n4, R4 }, fold(Math.ceil(n4 / 64)))
  return y
}

/** The sizes of a mixture, after checking that the width of h divides into experts and that c has a matrix for each. */
function expectExperts(
  op: string,
  h: Tensor,
  c: Matrix,
  { experts: K }: ExpertOptions,
): { T: number; K: number; R: number } {
  const [T, width] = rows(op, "h", h)
  const R = width / K
  if (!Number.isInteger(K) || K < 1 || R % 4 !== 0) {
    throw new RangeError(`${op}: h has rows of ${width}, expected a multiple of 4 for each of ${K} experts`)
  }
  expectShape(op, "c", c, [width, R])
  return { T, K, R }
}

function expectGates(h: Tensor, logits: Tensor | undefined, { experts: K, gate }: ExpertOptions): void {
  if ((gate === "none") !== (logits === undefined)) {
    const expected = gate === "none" ? "none" : "[T, K]"
    throw new TypeError(`expertMix: logits are ${logits ? "given" : "missing"}, expected ${expected} with gate ${gate}`)
  }
  if (logits) expectShape("expertMix", "logits", logits, [h.shape[0]!, K])
}

/** The one part of a matrix. */
function whole(op: string, name: string, { parts }: Matrix): Tensor {
  if (parts.length !== 1) throw new RangeError(`${op}: ${name} has ${parts.length} parts, expected 1`)
  return parts[0]!.tensor
}
