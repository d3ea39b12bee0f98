type Numbers = ArrayLike<number>

/** K experts of rank R. */
export interface Mix {
  readonly K: number
  readonly R: number
  readonly gate: "softmax" | "sigmoid" | "none"
  readonly activation: "tanh" | "identity"
}

/** The gates of one token, of its logits `[K]`. */
export function gatesOf(logits: Numbers | undefined, { K, gate }: Mix): Float64Array {
  if (gate === "none" || !logits) return new Float64Array(K).fill(1)
  if (gate === "sigmoid") return Float64Array.from(logits, (value) => 1 / (1 + Math.exp(-value)))
  const largest = Math.max(...Array.from(logits))
  const powers = Float64Array.from(logits, (value) => Math.exp(value - largest))
  const sum = powers.reduce((total, value) => total + value, 0)
  return powers.map((value) => value / sum)
}

/** act(x), element by element. */
export function act(x: Numbers, { activation }: Mix): Float64Array {
  return Float64Array.from(x, (value) => (activation === "tanh" ? Math.tanh(value) : value))
}

/** act'(x), element by element. */
function slope(x: Numbers, { activation }: Mix): Float64Array {
  return Float64Array.from(x, (value) => (activation === "tanh" ? 1 / Math.cosh(value) ** 2 : 1))
}

/** Numbers `[from, from + n)`. */
export function slice(x: Numbers, from: number, n: number): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => x[from + i]!)
}

/** `matrix x`, matrix `[N, C]`, x `[C]`. */
export function apply(matrix: Numbers, x: Numbers): Float64Array {
  const C = x.length
  const y = new Float64Array(matrix.length / C)
  for (let n = 0; n < y.length; n++) {
    let sum = 0
    for (let i = 0; i < C; i++) sum += matrix[n * C + i]! * x[i]!
    y[n] = sum
  }
  return y
}

/**
 * `y[t, k R + j] = gates[t, k] * act(sum_i c[k R + j, i] * act(h[t, k R + i]))`,
 * h `[T, K R]`, logits `[T, K]` where there are gates, c `[K R, R]`.
 */
export function expertMix(h: Numbers, logits: Numbers | undefined, c: Numbers, mix: Mix): Float64Array {
  const { K, R } = mix
  const y = new Float64Array(h.length)
  for (let start = 0; start < h.length; start += R) {
    const [t, k] = [Math.floor(start / (K * R)), (start / R) % K]
    const gate = gatesOf(logits && slice(logits, t * K, K), mix)[k]!
    const inner = act(slice(h, start, R), mix)
    const outer = act(apply(slice(c, k * R * R, R * R), inner), mix)
    y.set(
      outer.map((value) => gate * value),
      start,
    )
  }
  return y
}

/** Gradients of `sum(expertMix(h, logits, c) * dy)`. */
export function expertMixBackward(
  h: Numbers,
  logits: Numbers | undefined,
  c: Numbers,
  dy: Numbers,
  mix: Mix,
): { dh: Float64Array; dlogits: Float64Array; dc: Float64Array } {
  const { K, R } = mix
  const T = h.length / (K * R)
  const [dh, dlogits, dc] = [new Float64Array(h.length), new Float64Array(T * K), new Float64Array(K * R * R)]
  for (let t = 0; t < T; t++) {
    const gates = gatesOf(logits && slice(logits, t * K, K), mix)
    const dgates = new Float64Array(K)
    for (let k = 0; k < K; k++) {
      const start = (t * K + k) * R
      const [own, before] = [slice(c, k * R * R, R * R), slice(h, start, R)]
      const inner = act(before, mix)
      const product = apply(own, inner)
      const outer = act(product, mix)
      const bend = slope(product, mix)
      const dinner = new Float64Array(R)
      for (let j = 0; j < R; j++) {
        dgates[k]! += dy[start + j]! * outer[j]!
        const dproduct = dy[start + j]! * gates[k]! * bend[j]!
        for (let i = 0; i < R; i++) {
          dinner[i]! += dproduct * own[j * R + i]!
          dc[(k * R + j) * R + i]! += dproduct * inner[i]!
        }
      }
      const innerBend = slope(before, mix)
      dh.set(
        dinner.map((value, i) => value * innerBend[i]!),
        start,
      )
    }
    dlogits.set(gatesBackward(gates, dgates, mix), t * K)
  }
  return { dh, dlogits, dc }
}

/** From the gradient of one token's gates to that of its logits, by the Jacobian. */
function gatesBackward(gates: Float64Array, dgates: Float64Array, { gate }: Mix): Float64Array {
  if (gate === "none") return new Float64Array(gates.length)
  if (gate === "sigmoid") return gates.map((value, k) => value * (1 - value) * dgates[k]!)
  return gates.map((value, k) =>
    gates.reduce((sum, other, l) => sum + dgates[l]! * other * ((k === l ? 1 : 0) - value), 0),
  )
}
