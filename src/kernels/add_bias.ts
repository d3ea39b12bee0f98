import type { Run } from "./run.ts"
import { add_bias_backward, add_bias as kernel } from "./shaders.ts"
import { expectDtype, expectShape, fold } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

/**
 * `y[t] = x[t] + bias`.
 *
 * @param x    `[T, N]`
 * @param bias `[N]`, f32
 * @returns    `[T, N]`
 */
export function addBias(run: Run, x: Tensor, bias: Tensor): Tensor {
  const [T, N] = columns("addBias", "x", x)
  expectShape("addBias", "bias", bias, [N])
  expectDtype("addBias", "bias", bias, "f32")
  const y = run.empty([T, N])
  run.dispatch(kernel, { x, bias, y }, { size: T * N, N }, fold(Math.ceil((T * N) / 64)))
  run.tape?.record(y, (dy) => [
    [x, dy],
    [bias, addBiasBackward(run, dy)],
  ])
  return y
}

/**
 * Gradient of `addBias` with respect to bias: `dbias = sum_t dy[t]`.
 *
 * @param dy `[T, N]`
 * @returns  `[N]`
 */
export function addBiasBackward(run: Run, dy: Tensor): Tensor {
  const [T, N] = columns("addBiasBackward", "dy", dy)
  const dbias = run.empty([N])
  run.dispatch(add_bias_backward, { dy, dbias }, { T, N }, [Math.ceil(N / 32)])
  return dbias
}

/** The two sizes of x, any. */
function columns(op: string, name: string, x: Tensor): [T: number, N: number] {
  const [T, N] = x.shape
  if (x.shape.length !== 2 || T === undefined || N === undefined) {
    throw new RangeError(`${op}: ${name} is ${format(x.shape)}, expected [T, N]`)
  }
  return [T, N]
}
