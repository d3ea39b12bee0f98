import type { Run } from "./run.ts"
import { cross_entropy_backward, cross_entropy as kernel } from "./shaders.ts"
import { expectDtype, expectShape } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

/** The target of a token that is not to be scored: its loss and its gradients are 0. */
export const IGNORED = 0xffffffff

/** Which logits these are, and what comes before the softmax. */
export interface Block {
  /** The token of the first column: the vocabulary may come in blocks. */
  readonly first: number
  /** Logits become `cap * tanh(logits / cap)`; 0 for none. */
  readonly cap: number
}

/** What is known of each token's loss from the blocks so far. */
export interface Scores {
  /** `[T, 3]`: the maximum, the sum of exponentials relative to it, the target's logit. */
  readonly softmax: Tensor
  /** `[T]` */
  readonly loss: Tensor
}

/**
 * `loss[t] = log(sum_v exp(logits[t, v])) - logits[t, targets[t]]`: the negative log-likelihood of each target, in nats.
 *
 * @param logits  `[T, V]`
 * @param targets `[T]`, u32, each below V or `IGNORED`
 * @returns       `[T]`
 */
export function crossEntropy(run: Run, logits: Tensor, targets: Tensor): Tensor {
  const whole = { first: 0, cap: 0 }
  const { softmax, loss } = crossEntropyBlock(run, logits, targets, whole)
  run.tape?.record(loss, (dloss) => [[logits, crossEntropyBackward(run, logits, targets, softmax, dloss, whole)]])
  return loss
}

/**
 * Cross-entropy over the blocks of the vocabulary up to this one. They come in order, and the last one's loss is that of
 * all.
 *
 * @param logits  `[T, columns]`
 * @param targets `[T]`, u32
 * @param before  what the blocks before gave, which is updated in place; none before the first
 */
export function crossEntropyBlock(run: Run, logits: Tensor, targets: Tensor, block: Block, before?: Scores): Scores {
  const [T, V] = sizes("crossEntropy", logits, targets)
  const { softmax, loss } = before ?? { softmax: run.empty([T, 3]), loss: run.empty([T]) }
  run.dispatch(kernel, { logits, targets, softmax, loss }, { V, ...block }, [T])
  return { softmax, loss }
}

/**
 * Gradient of cross-entropy with respect to a block of logits: `(softmax - onehot) * dloss`, through the cap.
 *
 * @param logits  `[T, columns]`
 * @param targets `[T]`, u32
 * @param softmax `[T, 3]`, after the last block
 * @param dloss   `[T]`
 * @returns       `[T, columns]`
 */
export function crossEntropyBackward(
  run: Run,
  logits: Tensor,
  targets: Tensor,
  softmax: Tensor,
  dloss: Tensor,
  block: Block,
): Tensor {
  const [T, V] = sizes("crossEntropyBackward", logits, targets)
  expectShape("crossEntropyBackward", "softmax", softmax, [T, 3])
  expectShape("crossEntropyBackward", "dloss", dloss, [T])
  const dlogits = run.empty([T, V])
  const buffers = { logits, targets, softmax, dloss, dlogits }
  run.dispatch(cross_entropy_backward, buffers, { V, ...block }, [Math.ceil(V / 1024), T])
  return dlogits
}

function sizes(op: string, logits: Tensor, targets: Tensor): [T: number, V: number] {
  const [T, V] = logits.shape
  if (logits.shape.length !== 2 || T === undefined || V === undefined) {
    throw new RangeError(`${op}: logits is ${format(logits.shape)}, expected [T, V]`)
  }
  expectShape(op, "targets", targets, [T])
  expectDtype(op, "targets", targets, "u32")
  return [T, V]
}
