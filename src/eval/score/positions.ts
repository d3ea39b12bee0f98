import type { PositionBucket } from "../task.ts"

/**
 * Mean losses in buckets that double in width, `[1, 2), [2, 4), [4, 8), ...`, cut to the positions there are.
 *
 * @param losses nats of the tokens at `from`, `from + 1`, ...
 */
export function bucketsOf(losses: ArrayLike<number>, from: number): PositionBucket[] {
  const buckets: PositionBucket[] = []
  const end = from + losses.length
  for (let at = from; at < end; ) {
    const to = Math.min(2 ** (32 - Math.clz32(at)), end)
    let sum = 0
    for (let position = at; position < to; position++) sum += losses[position - from]!
    buckets.push({ from: at, to, loss: sum / (to - at), tokens: to - at })
    at = to
  }
  return buckets
}

/** Mean loss of everything up to the end of each bucket. */
export function runningMeans(buckets: readonly PositionBucket[]): number[] {
  let sum = 0
  let tokens = 0
  return buckets.map((bucket) => {
    sum += bucket.loss * bucket.tokens
    tokens += bucket.tokens
    return sum / tokens
  })
}

/** Where a bucket lies on a logarithmic axis: the geometric mean of its first and last position. */
export function middleOf({ from, to }: PositionBucket): number {
  return Math.sqrt(from * (to - 1))
}
