import { crossEntropy, crossEntropyBackward } from "./cross_entropy.ts"
import { linear, linearBackwardInput, linearBackwardWeight } from "./linear.ts"
import { softcap as capped, softcapBackward } from "./softcap.ts"

type Numbers = ArrayLike<number>

/** Cross-entropy of `softcap(x weight^T)`, `[T]`: x `[T, C]`, weight `[V, C]`. */
export function linearCrossEntropy(
  x: Numbers,
  weight: Numbers,
  targets: Numbers,
  softcap: number | null,
): Float64Array {
  const C = x.length / targets.length
  const logits = linear(x, weight, C)
  return crossEntropy(softcap === null ? logits : capped(logits, softcap), targets, weight.length / C)
}

/** Gradients of `sum(linearCrossEntropy(x, weight) * dloss)`. */
export function linearCrossEntropyBackward(
  x: Numbers,
  weight: Numbers,
  targets: Numbers,
  dloss: Numbers,
  softcap: number | null,
): { dx: Float64Array; dweight: Float64Array } {
  const C = x.length / targets.length
  const logits = linear(x, weight, C)
  const V = weight.length / C
  const dlogits =
    softcap === null
      ? crossEntropyBackward(logits, targets, dloss, V)
      : softcapBackward(logits, crossEntropyBackward(capped(logits, softcap), targets, dloss, V), softcap)
  return { dx: linearBackwardInput(dlogits, weight, C), dweight: linearBackwardWeight(dlogits, x, C) }
}
