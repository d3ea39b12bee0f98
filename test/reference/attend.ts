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
  /** The first position that each token may see, where that is not 0. */
  readonly starts?: ArrayLike<number>
}

export interface Gradients {
  readonly dq: Float64Array
  readonly dk: Float64Array
  readonly dv: Float64Array
}

/** Causal attention of q `[T, H, D]` over k, v `[S, G, D]`, which hold every position from 0 on. */
export function attend(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  attention: Attention,
): Float64Array {
  const { D } = attention
  const y = new Float64Array(q.length)
  for (let row = 0; row < q.length / D; row++) {
    for (const { key, weight } of visible(q, k, row, attention)) {
      for (let d = 0; d < D; d++) y[row * D + d]! += weight * v[key * D + d]!
    }
  }
  return y
}

/** The weights of one head `[T, S]` over the positions of k `[S, G, D]`: 0 where a query does not see one. */
export function attentionWeights(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  head: number,
  attention: Attention,
): Float64Array {
  const { H, G, D } = attention
  const [T, S] = [q.length / (H * D), k.length / (G * D)]
  const weights = new Float64Array(T * S)
  for (let t = 0; t < T; t++) {
    for (const { key, weight } of visible(q, k, t * H + head, attention)) weights[t * S + Math.floor(key / G)] = weight
  }
  return weights
}

/** Gradients of `sum(attend(q, k, v) * dy)`. */
export function attendBackward(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  dy: ArrayLike<number>,
  attention: Attention,
): Gradients {
  const { D, scale } = attention
  const gradients = {
    dq: new Float64Array(q.length),
    dk: new Float64Array(k.length),
    dv: new Float64Array(v.length),
  }
  for (let row = 0; row < q.length / D; row++) {
    const keys = visible(q, k, row, attention)
    const dweights = keys.map(({ key }) => dot(dy, row * D, v, key * D, D))
    const mean = keys.reduce((sum, { weight }, i) => sum + weight * dweights[i]!, 0)
    keys.forEach(({ key, weight, slope }, i) => {
      const dscore = weight * (dweights[i]! - mean) * slope * scale
      for (let d = 0; d < D; d++) {
        gradients.dq[row * D + d]! += dscore * k[key * D + d]!
        gradients.dk[key * D + d]! += dscore * q[row * D + d]!
        gradients.dv[key * D + d]! += weight * dy[row * D + d]!
      }
    })
  }
  return gradients
}

/** The keys that row `t * H + h` of q sees: which row of k, its weight, and the slope of the cap at its score. */
function visible(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  row: number,
  { H, G, D, window, scale, softcap, position, starts }: Attention,
): { key: number; weight: number; slope: number }[] {
  const t = Math.floor(row / H)
  const last = position + t
  const first = Math.max(starts?.[t] ?? 0, window === 0 ? 0 : last - window + 1)
  const g = Math.floor((row % H) / (H / G))
  const keys = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * G + g)
  const raw = keys.map((key) => dot(q, row * D, k, key * D, D) * scale)
  const scores = raw.map((score) => (softcap === 0 ? score : softcap * Math.tanh(score / softcap)))
  const highest = scores.reduce((a, b) => Math.max(a, b))
  const total = scores.reduce((sum, score) => sum + Math.exp(score - highest), 0)
  return keys.map((key, i) => ({
    key,
    weight: Math.exp(scores[i]! - highest) / total,
    slope: softcap === 0 ? 1 : 1 / Math.cosh(raw[i]! / softcap) ** 2,
  }))
}

function dot(a: ArrayLike<number>, atA: number, b: ArrayLike<number>, atB: number, n: number): number {
  let sum = 0
  for (let i = 0; i < n; i++) sum += a[atA + i]! * b[atB + i]!
  return sum
}
