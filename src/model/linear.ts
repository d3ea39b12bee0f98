import { add } from "../kernels/add.ts"
import { linear as product } from "../kernels/linear.ts"
import type { Run } from "../kernels/run.ts"
import { scale } from "../kernels/scale.ts"
import type { Matrix, Tensor } from "../kernels/tensor.ts"

/** Two factors of a matrix `b a`. R is a multiple of 4: what a rank lacks is filled with zeros, which stay zeros. */
export interface Factors {
  /** `[R, C]` */
  readonly a: Matrix
  /** `[N, R]` */
  readonly b: Matrix
}

/**
 * What an adapter adds to one linear layer: `scale * b s a` (LoRA, Hu et al., arXiv:2106.09685, without s; LaMDA, Azizi et
 * al., arXiv:2406.12832, with it).
 */
export interface LinearAdapter extends Factors {
  /** `[R, R]` */
  readonly s?: Matrix
  readonly scale: number
  /** A fixed product that is added as well: minus what the factors began with, where that was taken from the weight. */
  readonly offset?: Factors
}

/** A linear layer: its weight, and the adapters that are on. */
export interface Linear {
  /** `[N, C]` */
  readonly weight: Matrix
  adapters: readonly LinearAdapter[]
}

/**
 * `y = x weight^T`, and what the adapters add.
 *
 * @param x `[T, C]`
 * @returns `[T, N]`
 */
export function linear(run: Run, x: Tensor, { weight, adapters }: Linear): Tensor {
  return adapters.reduce((y, adapter) => adapt(run, x, y, adapter), product(run, x, weight))
}

function adapt(run: Run, x: Tensor, y: Tensor, { a, b, s, scale: factor, offset }: LinearAdapter): Tensor {
  const u = product(run, x, a) // [T, R]
  const t = scale(run, s ? product(run, u, s) : u, factor)
  const adapted = add(run, y, product(run, t, b))
  if (!offset) return adapted
  const v = offset.a === a ? u : product(run, x, offset.a)
  return add(run, adapted, product(run, v, offset.b))
}
