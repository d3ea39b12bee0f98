/** Natural log-probabilities of all tokens: the logarithm of the softmax. */
export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  const x = Float64Array.from(logits)
  const highest = x.reduce((a, b) => Math.max(a, b))
  const total = x.reduce((sum, value) => sum + Math.exp(value - highest), 0)
  return x.map((value) => value - highest - Math.log(total))
}

/** The ids of the n largest, the largest first, the lower id first among equals. */
export function largest(x: ArrayLike<number>, n: number): number[] {
  const ids = Array.from({ length: x.length }, (_, id) => id)
  return ids.sort((a, b) => x[b]! - x[a]! || a - b).slice(0, n)
}

/** Where an id stands among all by falling x, from 1, the lower id first among equals. */
export function rankOf(x: ArrayLike<number>, id: number): number {
  return largest(x, x.length).indexOf(id) + 1
}

/** The entropy of the softmax, in nats. */
export function entropy(logits: ArrayLike<number>): number {
  return logSoftmax(logits).reduce(
    (sum, logprob) => (logprob === -Infinity ? sum : sum - Math.exp(logprob) * logprob),
    0,
  )
}
