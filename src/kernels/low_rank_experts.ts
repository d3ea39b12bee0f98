import { add } from "./add.ts"
import { addBias } from "./add_bias.ts"
import { type ExpertOptions, expertMix } from "./expert_mix.ts"
import { linear } from "./linear.ts"
import { multiply } from "./multiply.ts"
import type { Run } from "./run.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/** The factors of K experts of rank R, stacked. */
export interface LowRankExperts {
  /** `[N, K R]`: expert k's `U_k` in columns `[k R, k R + R)` */
  readonly u: Matrix
  /** `[K R, R]`: expert k's `C_k` in rows `[k R, k R + R)` */
  readonly c: Matrix
  /** `[K R, C]`: expert k's `V_k^T` in rows `[k R, k R + R)` */
  readonly v: Matrix
  /** `[K, C]`: from a token to the logits of its gates; absent where there are no gates. */
  readonly gate?: Matrix | undefined
  /** `[N]`, f32 */
  readonly bias?: Tensor | undefined
}

/**
 * A gated mixture of low-rank experts in place of a linear layer (DCN-M, Wang et al., arXiv:2008.13535):
 * `y = sum_k G_k(x) * (U_k act(C_k act(V_k^T x))) + bias`. The bias is outside of the sum, where softmax gates would leave it.
 *
 * @param x `[T, C]`
 * @returns `[T, N]`
 */
export function lowRankExperts(run: Run, x: Tensor, experts: LowRankExperts, options: ExpertOptions): Tensor {
  const { u, c, v, gate, bias } = experts
  const h = linear(run, x, v) // [T, K R]
  const logits = gate && linear(run, x, gate) // [T, K]
  const y = linear(run, expertMix(run, h, logits, c, options), u) // [T, N]
  return bias ? addBias(run, y, bias) : y
}

/**
 * A cross layer of DCN-M: `y = x0 * lowRankExperts(x) + x`, which raises the degree in the first layer's input x0 by one.
 *
 * @param x0 `[T, C]`
 * @param x  `[T, C]`
 * @returns  `[T, C]`
 */
export function crossLayer(run: Run, x0: Tensor, x: Tensor, experts: LowRankExperts, options: ExpertOptions): Tensor {
  return add(run, multiply(run, x0, lowRankExperts(run, x, experts, options)), x)
}
