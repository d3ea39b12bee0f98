import { type ActiveColumns, activeParams } from "./active_columns.ts"
import type { Run } from "./run.ts"
import { global_norm, sum_squares } from "./shaders.ts"
import type { Tensor } from "./tensor.ts"

/** Elements that a workgroup of sum_squares adds up, 64 per lane, unless there are more than MOST_GROUPS of these. */
const PER_GROUP = 64 * 256
const MOST_GROUPS = 512

/** A gradient and the columns of it that count. */
export interface ActiveGradient extends ActiveColumns {
  readonly gradient: Tensor
}

/**
 * The norm of all gradients as one vector, and by what to multiply them so that it is at most `maxNorm` (Pascanu et al.,
 * arXiv:1211.5063): `min(1, maxNorm / (norm + 1e-6))`, or 1 without a `maxNorm`. Where a gradient is not finite, or so
 * large that its square is not, the norm is infinite and the factor -1: updates do nothing then.
 *
 * @param gradients f32, any shapes
 * @returns         `[2]`: norm and factor
 */
export function globalNorm(
  run: Run,
  gradients: readonly ActiveGradient[],
  { maxNorm }: { readonly maxNorm?: number | undefined } = {},
): Tensor {
  if (gradients.length === 0) throw new RangeError("globalNorm: gradients are 0, expected at least 1")
  if (maxNorm !== undefined && !(maxNorm > 0 && Math.fround(maxNorm) < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`globalNorm: maxNorm is ${maxNorm}, expected a number above 0`)
  }
  const sums = gradients.map(({ gradient, ...columns }) => {
    const params = activeParams("globalNorm", "gradient", gradient, columns)
    return { x: gradient, params, groups: Math.min(MOST_GROUPS, Math.ceil(params.n / PER_GROUP)) }
  })
  const slots = sums.reduce((total, { groups }) => total + groups, 0)
  const partials = run.empty([slots])
  let slot = 0
  for (const { x, params, groups } of sums) {
    run.dispatch(sum_squares, { x, partials }, { ...params, slot }, [groups])
    slot += groups
  }
  const clip = run.empty([2])
  run.dispatch(global_norm, { partials, clip }, { slots, max_norm: maxNorm ?? 0 }, [1])
  return clip
}
