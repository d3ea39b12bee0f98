/** `log(sum_v exp(logits[t, v])) - logits[t, targets[t]]`, logits `[T, V]`. */
export function crossEntropy(logits: ArrayLike<number>, targets: ArrayLike<number>, V: number): Float64Array {
  return Float64Array.from(targets, (target, t) => {
    let highest = Number.NEGATIVE_INFINITY
    for (let v = 0; v < V; v++) highest = Math.max(highest, logits[t * V + v]!)
    let sum = 0
    for (let v = 0; v < V; v++) sum += Math.exp(logits[t * V + v]! - highest)
    return Math.log(sum) + (highest - logits[t * V + target]!)
  })
}
