import type { Scores } from "./cross_entropy.ts"
import type { Run } from "./run.ts"
import { rank_entropy as kernel } from "./shaders.ts"
import { expectDtype, expectShape } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

export interface RankEntropy {
  /** `[T]`, u32: how many tokens are likelier than the target, and itself; among equals the lower id comes first. */
  readonly ranks: Tensor
  /** `[T]`: of the softmax of each row, in nats. */
  readonly entropy: Tensor
}

/**
 * Where each row's target stands among all tokens, and how undecided the row is.
 *
 * @param logits  `[T, V]`, capped where the model caps them
 * @param targets `[T]`, u32, each below V
 * @param softmax `[T, 3]`, of `crossEntropyBlock` over the same logits and targets
 */
export function rankEntropy(run: Run, logits: Tensor, targets: Tensor, { softmax }: Scores): RankEntropy {
  const [T, V] = logits.shape
  if (logits.shape.length !== 2 || T === undefined || V === undefined) {
    throw new RangeError(`rankEntropy: logits is ${format(logits.shape)}, expected [T, V]`)
  }
  expectShape("rankEntropy", "targets", targets, [T])
  expectDtype("rankEntropy", "targets", targets, "u32")
  expectShape("rankEntropy", "softmax", softmax, [T, 3])
  const told = { ranks: run.empty([T], "u32"), entropy: run.empty([T]) }
  run.dispatch(kernel, { logits, targets, softmax, ...told }, { V }, [T])
  return told
}
