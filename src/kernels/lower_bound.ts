import type { Run } from "./run.ts"
import { lower_bound as kernel, lower_bound_backward } from "./shaders.ts"
import { expectShape, rows } from "./shape.ts"
import type { Matrix, Tensor } from "./tensor.ts"

/**
 * `y = sum of rows 1 to layer of softmax(bounds)`, the softmax being over the layers of each channel: what the decays of
 * a layer are at least (HGRN, Qin et al., arXiv:2311.04823). They rise from 0 at layer 0, so that upper layers
 * remember longer.
 *
 * @param bounds `[L, C]`, in one part
 * @returns      `[C]`
 */
export function lowerBound(run: Run, bounds: Matrix, layer: number): Tensor {
  const [L, C] = rows("lowerBound", "bounds", bounds)
  expectLayer("lowerBound", layer, L)
  const y = run.empty([C])
  const weight = onePart("lowerBound", "bounds", bounds)
  run.dispatch(kernel, { weight, y }, { L, C4: C / 4, layer }, [Math.ceil(C / 4 / 64)])
  run.tape?.record(y, (dy, sums) => [[bounds, lowerBoundBackward(run, bounds, layer, { y, dy }, sums(bounds))]])
  return y
}

/**
 * Gradient of `lowerBound`, with `s = softmax(bounds)`: `dbounds[l] = s[l] * ([1 <= l <= layer] - y) * dy`.
 *
 * @param bounds `[L, C]`, in one part
 * @param y      `[C]`, the result
 * @param dy     `[C]`
 * @param onto   `[L, C]`, what to add it to in place; a new matrix without
 * @returns      `[L, C]`
 */
export function lowerBoundBackward(
  run: Run,
  bounds: Matrix,
  layer: number,
  { y, dy }: { readonly y: Tensor; readonly dy: Tensor },
  onto?: Matrix,
): Matrix {
  const [L, C] = rows("lowerBoundBackward", "bounds", bounds)
  expectLayer("lowerBoundBackward", layer, L)
  expectShape("lowerBoundBackward", "y", y, [C])
  expectShape("lowerBoundBackward", "dy", dy, [C])
  if (onto) expectShape("lowerBoundBackward", "onto", onto, [L, C])
  const result = onto ?? run.emptyMatrix([L, C])
  const weight = onePart("lowerBoundBackward", "bounds", bounds)
  const dweight = onePart("lowerBoundBackward", "onto", result)
  const params = { L, C4: C / 4, layer, accumulate: onto ? 1 : 0 }
  run.dispatch(lower_bound_backward, { weight, y, dy, dweight }, params, [Math.ceil(C / 4 / 64)])
  return result
}

function expectLayer(op: string, layer: number, L: number): void {
  if (!Number.isInteger(layer) || layer < 0 || layer >= L) {
    throw new RangeError(`${op}: layer is ${layer}, expected an integer from 0 to ${L - 1}`)
  }
}

/** A matrix of a row per layer is small: it has never been split. */
function onePart(op: string, name: string, { parts }: Matrix): Tensor {
  if (parts.length !== 1) throw new RangeError(`${op}: ${name} has ${parts.length} parts, expected 1`)
  return parts[0]!.tensor
}
