import type { Run } from "./run.ts"
import { scale_columns as kernel, scale_columns_backward_magnitude } from "./shaders.ts"
import { expectShape, fold } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

/**
 * `y = x * magnitude / norm`, column by column, and 0 where the norm is 0: what DoRA (Liu et al., arXiv:2402.09353)
 * makes of a linear layer's output. The norms count as constants (section 4.3 there): they get no gradient.
 *
 * @param x         `[T, N]`
 * @param magnitude `[N]`
 * @param norm      `[N]`
 * @returns         `[T, N]`
 */
export function scaleColumns(run: Run, x: Tensor, magnitude: Tensor, norm: Tensor): Tensor {
  const [T, N] = expectColumns("scaleColumns", x, norm)
  expectShape("scaleColumns", "magnitude", magnitude, [N])
  const y = run.empty([T, N])
  run.dispatch(kernel, { x, magnitude, norm, y }, { size: T * N, N }, fold(Math.ceil((T * N) / 64)))
  run.tape?.record(y, (dy) => [
    [x, scaleColumns(run, dy, magnitude, norm)],
    [magnitude, scaleColumnsBackwardMagnitude(run, x, dy, norm)],
  ])
  return y
}

/**
 * Gradient of `scaleColumns` with respect to magnitude: `dmagnitude[n] = sum_t dy[t, n] * x[t, n] / norm[n]`.
 *
 * @param x    `[T, N]`
 * @param dy   `[T, N]`
 * @param norm `[N]`
 * @returns    `[N]`
 */
export function scaleColumnsBackwardMagnitude(run: Run, x: Tensor, dy: Tensor, norm: Tensor): Tensor {
  const [T, N] = expectColumns("scaleColumnsBackwardMagnitude", x, norm)
  expectShape("scaleColumnsBackwardMagnitude", "dy", dy, [T, N])
  const dmagnitude = run.empty([N])
  run.dispatch(scale_columns_backward_magnitude, { x, dy, norm, dmagnitude }, { T, N }, [Math.ceil(N / 32)])
  return dmagnitude
}

/** The two sizes of x, any, after checking that there is a norm per column. */
function expectColumns(op: string, x: Tensor, norm: Tensor): [T: number, N: number] {
  const [T, N] = x.shape
  if (x.shape.length !== 2 || T === undefined || N === undefined) {
    throw new RangeError(`${op}: x is ${format(x.shape)}, expected [T, N]`)
  }
  expectShape(op, "norm", norm, [N])
  return [T, N]
}
