import { add } from "../kernels/add.ts"
import { linear as product } from "../kernels/linear.ts"
import { rowNorms } from "../kernels/row_norms.ts"
import type { Run } from "../kernels/run.ts"
import { scale } from "../kernels/scale.ts"
import { scaleColumns } from "../kernels/scale_columns.ts"
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
  readonly s?: Matrix | undefined
  readonly scale: number
  /** A fixed product that is added as well: minus what the factors began with, where that was taken from the weight. */
  readonly offset?: Factors | undefined
  /** In DoRA (Liu et al., arXiv:2402.09353) the adapted weight's rows get these norms. */
  readonly dora?: Dora | undefined
}

export interface Dora {
  /** `[N]` */
  readonly magnitude: Tensor
  /** `[N]`: the norms of the adapted rows. Absent while these change: then they are computed every time. */
  norm?: Tensor | undefined
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
  return adapters.reduce((y, adapter) => adapt(run, x, y, weight, adapter), product(run, x, weight))
}

function adapt(run: Run, x: Tensor, y: Tensor, weight: Matrix, adapter: LinearAdapter): Tensor {
  const { a, b, s, offset, dora } = adapter
  const u = product(run, x, a) // [T, R]
  const t = scale(run, s ? product(run, u, s) : u, adapter.scale)
  const adapted = add(run, y, product(run, t, b))
  if (dora)
    return scaleColumns(run, adapted, dora.magnitude, dora.norm ?? rowNorms(run, weight, adapter, adapter.scale))
  if (!offset) return adapted
  const v = offset.a === a ? u : product(run, x, offset.a)
  return add(run, adapted, product(run, v, offset.b))
}
