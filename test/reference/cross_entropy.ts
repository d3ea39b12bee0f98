const IGNORED = 2 ** 32 - 1

/** `log(sum_v exp(logits[t, v])) - logits[t, targets[t]]`, logits `[T, V]`; 0 where the target is ignored. */
export function crossEntropy(logits: ArrayLike<number>, targets: ArrayLike<number>, V: number): Float64Array {
  return Float64Array.from(targets, (target, t) => {
    if (target === IGNORED) return 0
    const { highest, sum } = softmax(logits, t, V)
    return Math.log(sum) + (highest - logits[t * V + target]!)
  })
}

/** Gradient of `sum(crossEntropy(logits) * dloss)`. */
export function crossEntropyBackward(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  dloss: ArrayLike<number>,
  V: number,
): Float64Array {
  const dlogits = new Float64Array(logits.length)
  for (let t = 0; t < targets.length; t++) {
    if (targets[t] === IGNORED) continue
    const { highest, sum } = softmax(logits, t, V)
    for (let v = 0; v < V; v++) {
      const p = Math.exp(logits[t * V + v]! - highest) / sum
      dlogits[t * V + v] = dloss[t]! * (p - (v === targets[t] ? 1 : 0))
    }
  }
  return dlogits
}

/** The highest logit of a row, and the sum of exponentials relative to it. */
function softmax(logits: ArrayLike<number>, t: number, V: number): { highest: number; sum: number } {
  let highest = Number.NEGATIVE_INFINITY
  for (let v = 0; v < V; v++) highest = Math.max(highest, logits[t * V + v]!)
  let sum = 0
  for (let v = 0; v < V; v++) sum += Math.exp(logits[t * V + v]! - highest)
  return { highest, sum }
}
