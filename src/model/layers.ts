import { recompute } from "../kernels/recompute.ts"
import { type RmsNormOptions, rmsNorm } from "../kernels/rms_norm.ts"
import type { Run } from "../kernels/run.ts"
import type { Tensor } from "../kernels/tensor.ts"
import type { ForwardOptions } from "./network.ts"

/** What goes from layer to layer. */
export interface Stream {
  /** The residual stream, `[T, C]`. */
  readonly h: Tensor
  /** The same normed, as the next layer reads it, `[T, C]`. */
  readonly u: Tensor
}

export interface Norms extends RmsNormOptions {
  /** The norm before each layer and the one behind the last, `[C]` each. */
  readonly weights: readonly Tensor[]
}

/**
 * Sends a sequence through pre-norm layers. Each gives what the next one reads: so its last sum and the next one's norm can be one
 * dispatch.
 *
 * @param x     the embedding, `[T, C]`
 * @param layer records a layer, given the norm that follows it
 * @returns     the final norm's output, `[T, C]`
 */
export function throughLayers(
  run: Run,
  x: Tensor,
  { weights, ...options }: Norms,
  layer: (i: number, stream: Stream, next: Tensor) => Stream,
  { onState = () => {}, recompute: again = false }: ForwardOptions = {},
): Tensor {
  const normed = (h: Tensor, weight: Tensor): Stream => ({ h, u: rmsNorm(run, h, weight, options) })
  let stream = normed(x, weights[0]!)
  onState(x)
  weights.slice(1).forEach((next, i) => {
    // Only the residual stream is kept from layer to layer where the rest is recorded again.
    if (again)
      stream = normed(
        recompute(run, stream.h, (h) => layer(i, normed(h, weights[i]!), next).h),
        next,
      )
    else stream = layer(i, stream, next)
    onState(stream.h)
  })
  return stream.u
}
