export interface Attention {
  readonly H: number
  readonly G: number
  readonly D: number
  /** Keys that a query sees, itself included; 0 for all. */
  readonly window: number
  readonly scale: number
  /** 0 for none. */
  readonly softcap: number
  /** The position of q[0]; k[0] and v[0] are at position 0. */
  readonly position: number
}

/** Causal attention of q `[T, H, D]` over k, v `[S, G, D]`, which hold every position from 0 on. */
export function attend(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  { H, G, D, window, scale, softcap, position }: Attention,
): Float64Array {
  const y = new Float64Array(q.length)
  for (let row = 0; row < q.length / D; row++) {
    const last = position + Math.floor(row / H)
    const first = window === 0 ? 0 : Math.max(0, last - window + 1)
    const g = Math.floor((row % H) / (H / G))
    const scores: number[] = []
    for (let s = first; s <= last; s++) {
      let score = 0
      for (let d = 0; d < D; d++) score += q[row * D + d]! * k[(s * G + g) * D + d]! * scale
      scores.push(softcap === 0 ? score : softcap * Math.tanh(score / softcap))
    }
    const highest = scores.reduce((a, b) => Math.max(a, b))
    const weights = scores.map((score) => Math.exp(score - highest))
    const total = weights.reduce((a, b) => a + b)
    weights.forEach((weight, i) => {
      for (let d = 0; d < D; d++) y[row * D + d]! += (weight / total) * v[((first + i) * G + g) * D + d]!
    })
  }
  return y
}
