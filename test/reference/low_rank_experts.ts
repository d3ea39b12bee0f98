import { addBiasBackward } from "./add_bias.ts"
import { act, apply, expertMix, expertMixBackward, gatesOf, type Mix, slice } from "./expert_mix.ts"
import { linear, linearBackwardInput, linearBackwardWeight } from "./linear.ts"

type Numbers = ArrayLike<number>

/** The experts' factors, stacked: u `[N, K R]`, c `[K R, R]`, v `[K R, C]`, gate `[K, C]`, bias `[N]`. */
export interface Experts {
  readonly u: Numbers
  readonly c: Numbers
  readonly v: Numbers
  readonly gate?: Numbers | undefined
  readonly bias: Numbers
}

/** `y[t] = sum_k G_k(x[t]) * (U_k act(C_k act(V_k^T x[t]))) + bias`, expert by expert. */
export function lowRankExperts(x: Numbers, { u, c, v, gate, bias }: Experts, mix: Mix): Float64Array {
  const { K, R } = mix
  const [N, C] = [bias.length, v.length / (K * R)]
  const T = x.length / C
  const y = Float64Array.from({ length: T * N }, (_, i) => bias[i % N]!)
  for (let k = 0; k < K; k++) {
    const [vk, ck] = [slice(v, k * R * C, R * C), slice(c, k * R * R, R * R)]
    const uk = Float64Array.from({ length: N * R }, (_, i) => u[Math.floor(i / R) * K * R + k * R + (i % R)]!)
    for (let t = 0; t < T; t++) {
      const token = slice(x, t * C, C)
      const weight = gatesOf(gate && apply(gate, token), mix)[k]!
      const result = apply(uk, act(apply(ck, act(apply(vk, token), mix)), mix))
      for (let n = 0; n < N; n++) y[t * N + n]! += weight * result[n]!
    }
  }
  return y
}

/** Gradients of `sum(lowRankExperts(x) * dy)`. */
export function lowRankExpertsBackward(x: Numbers, { u, c, v, gate, bias }: Experts, dy: Numbers, mix: Mix) {
  const W = mix.K * mix.R
  const C = v.length / W
  const h = linear(x, v, C)
  const logits = gate && linear(x, gate, C)
  const dm = linearBackwardInput(dy, u, W)
  const { dh, dlogits, dc } = expertMixBackward(h, logits, c, dm, mix)
  const dx = linearBackwardInput(dh, v, C)
  if (gate)
    linearBackwardInput(dlogits, gate, C).forEach((value, i) => {
      dx[i]! += value
    })
  return {
    dx,
    du: linearBackwardWeight(dy, expertMix(h, logits, c, mix), W),
    dc,
    dv: linearBackwardWeight(dh, x, C),
    dgate: linearBackwardWeight(dlogits, x, C),
    dbias: addBiasBackward(dy, bias.length),
  }
}

/** `y = x0 * lowRankExperts(x) + x` */
export function crossLayer(x0: Numbers, x: Numbers, experts: Experts, mix: Mix): Float64Array {
  return lowRankExperts(x, experts, mix).map((value, i) => x0[i]! * value + x[i]!)
}

/** `x0 * (u (v x) + bias) + x`: a cross layer of one low-rank matrix, u `[C, R]`, v `[R, C]`. */
export function lowRankCross(x0: Numbers, x: Numbers, { u, v, bias }: Experts, R: number): Float64Array {
  const C = bias.length
  return linear(linear(x, v, C), u, R).map((value, i) => x0[i]! * (value + bias[i % C]!) + x[i]!)
}
