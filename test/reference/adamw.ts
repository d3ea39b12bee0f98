export interface AdamwState {
  readonly weight: Float64Array
  readonly m: Float64Array
  readonly v: Float64Array
}

/** Weights that no step has touched. */
export function adamwStart(weight: ArrayLike<number>): AdamwState {
  return { weight: Float64Array.from(weight), m: new Float64Array(weight.length), v: new Float64Array(weight.length) }
}

/** Step t, from 1, of AdamW: algorithm 2 of arXiv:1711.05101 with the decay times the learning rate, as in PyTorch. */
export function adamw(
  state: AdamwState,
  gradient: ArrayLike<number>,
  { t, rate, betas, eps, decay }: { t: number; rate: number; betas: readonly number[]; eps: number; decay: number },
): AdamwState {
  const [beta1, beta2] = [betas[0]!, betas[1]!]
  const m = state.m.map((mean, i) => beta1 * mean + (1 - beta1) * gradient[i]!)
  const v = state.v.map((square, i) => beta2 * square + (1 - beta2) * gradient[i]! ** 2)
  const weight = state.weight.map((w, i) => {
    const step = m[i]! / (1 - beta1 ** t) / (Math.sqrt(v[i]! / (1 - beta2 ** t)) + eps)
    return w * (1 - rate * decay) - rate * step
  })
  return { weight, m, v }
}
