/** What the filters of transformers leave of a distribution, as they are written in generation/logits_process.py. */
export interface Filters {
  readonly repetitionPenalty?: number
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly minP?: number
}

/** The probability of each token after the filters; 0 for those that a filter took out. */
export function probabilities(
  logits: ArrayLike<number>,
  { repetitionPenalty = 1, temperature = 1, topK = 0, topP = 1, minP = 0 }: Filters,
  history: readonly number[] = [],
): Float64Array {
  let x = Float64Array.from(logits)
  for (const id of new Set(history)) x[id] = x[id]! < 0 ? x[id]! * repetitionPenalty : x[id]! / repetitionPenalty
  x = x.map((value) => value / temperature)
  if (topK > 0) x = keepTopK(x, topK)
  if (topP < 1) x = keepTopP(x, topP)
  if (minP > 0) x = keepMinP(x, minP)
  return softmax(x)
}

export function softmax(x: Float64Array): Float64Array {
  const highest = x.reduce((a, b) => Math.max(a, b))
  const weights = x.map((value) => Math.exp(value - highest))
  const total = weights.reduce((a, b) => a + b)
  return weights.map((weight) => weight / total)
}

/** Takes out what is below the k-th largest. */
function keepTopK(x: Float64Array<ArrayBuffer>, k: number): Float64Array<ArrayBuffer> {
  const kth = x.toSorted().at(-Math.min(k, x.length))!
  return x.map((value) => (value < kth ? Number.NEGATIVE_INFINITY : value))
}

/** From the least likely up, takes out tokens while they weigh at most 1 - p together. */
function keepTopP(x: Float64Array<ArrayBuffer>, p: number): Float64Array<ArrayBuffer> {
  const weights = softmax(x)
  const order = [...x.keys()].sort((a, b) => x[a]! - x[b]!)
  let sum = 0
  for (const id of order.slice(0, -1)) {
    sum += weights[id]!
    if (sum > 1 - p) break
    x[id] = Number.NEGATIVE_INFINITY
  }
  return x
}

/** Takes out what is less than p times as likely as the likeliest. */
function keepMinP(x: Float64Array<ArrayBuffer>, p: number): Float64Array<ArrayBuffer> {
  const weights = softmax(x)
  const least = p * weights.reduce((a, b) => Math.max(a, b))
  return x.map((value, id) => (weights[id]! < least ? Number.NEGATIVE_INFINITY : value))
}
