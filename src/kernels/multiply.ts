import type { Run } from "./run.ts"
import { multiply as kernel } from "./shaders.ts"
import { expectShape, fold, rows } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/**
 * `y = a * b`, element by element.
 *
 * @param a `[T, C]`
 * @param b `[T, C]`
 * @returns `[T, C]`
 */
export function multiply(run: Run, a: Tensor, b: Tensor): Tensor {
  const [T, C] = rows("multiply", "a", a)
  expectShape("multiply", "b", b, [T, C])
  const y = run.empty([T, C])
  const n4 = (T * C) / 4
  run.dispatch(kernel, { a, b, y }, { n4 }, fold(Math.ceil(n4 / 64)))
  run.tape?.record(y, (dy) => [
    [a, multiply(run, dy, b)],
    [b, multiply(run, dy, a)],
  ])
  return y
}
