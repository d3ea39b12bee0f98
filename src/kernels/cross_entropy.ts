import type { Run } from "./run.ts"
import { cross_entropy as kernel } from "./shaders.ts"
import { expectDtype, expectShape } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

/**
 * `loss[t] = log(sum_v exp(logits[t, v])) - logits[t, targets[t]]`: the negative log-likelihood of each target, in nats.
 *
 * @param logits  `[T, V]`
 * @param targets `[T]`, u32, each below V
 * @returns       `[T]`
 */
export function crossEntropy(run: Run, logits: Tensor, targets: Tensor): Tensor {
  const [T, V] = logits.shape
  if (logits.shape.length !== 2 || T === undefined || V === undefined) {
    throw new RangeError(`crossEntropy: logits is ${format(logits.shape)}, expected [T, V]`)
  }
  expectShape("crossEntropy", "targets", targets, [T])
  expectDtype("crossEntropy", "targets", targets, "u32")
  const loss = run.empty([T])
  run.dispatch(kernel, { logits, targets, loss }, { V }, [T])
  return loss
}
