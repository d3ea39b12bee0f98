import { type AttendOptions, attend, attendParts, type KvCache } from "../kernels/attend.ts"
import { linearOfParts, readsParts } from "../kernels/linear.ts"
import type { Run } from "../kernels/run.ts"
import { type Tensor, view } from "../kernels/tensor.ts"
import { type Linear, linear } from "./linear.ts"

/**
 * Attention and the layer behind it. What parts of the keys give is put together by the product, unless something is between them: a
 * tape, adapters, an observer, or a norm.
 *
 * @param q `[T, H, D]`
 * @returns `[T, N]`
 */
export function attendedLinear(
  run: Run,
  q: Tensor,
  cache: KvCache,
  cursor: Tensor,
  options: AttendOptions,
  layer: Linear,
): Tensor {
  const [T, H, D] = q.shape as [number, number, number]
  const { weight, adapters, observe } = layer
  const direct = weight.kind === "dense" && adapters.length === 0 && !observe
  if (direct && readsParts(run, T, weight.matrix)) {
    return linearOfParts(run, attendParts(run, q, cache, cursor, options), weight.matrix)
  }
  return linear(run, view(attend(run, q, cache, cursor, options), [T, H * D]), layer)
}
