/** `act(gate) * up`, element by element. */
export function glu(gate: ArrayLike<number>, up: ArrayLike<number>, activation: "gelu_tanh" | "silu"): Float64Array {
  const act = activation === "silu" ? silu : geluTanh
  return Float64Array.from(gate, (x, i) => act(x) * up[i]!)
}

function geluTanh(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
}

function silu(x: number): number {
  return x / (1 + Math.exp(-x))
}

/** Gradients of `sum(glu(gate, up) * dy)`. */
export function gluBackward(
  gate: ArrayLike<number>,
  up: ArrayLike<number>,
  dy: ArrayLike<number>,
  activation: "gelu_tanh" | "silu",
): { dgate: Float64Array; dup: Float64Array } {
  const slope = activation === "silu" ? siluSlope : geluTanhSlope
  const act = activation === "silu" ? silu : geluTanh
  return {
    dgate: Float64Array.from(gate, (x, i) => dy[i]! * up[i]! * slope(x)),
    dup: Float64Array.from(gate, (x, i) => dy[i]! * act(x)),
  }
}

function geluTanhSlope(x: number): number {
  const k = Math.sqrt(2 / Math.PI)
  const inner = k * (x + 0.044715 * x ** 3)
  const flat = Math.abs(inner) > 300 ? 0 : 1 / Math.cosh(inner) ** 2
  return 0.5 * (1 + Math.tanh(inner)) + 0.5 * x * flat * k * (1 + 3 * 0.044715 * x ** 2)
}

function siluSlope(x: number): number {
  const [s, rest] = [1 / (1 + Math.exp(-x)), 1 / (1 + Math.exp(x))]
  return s + x * s * rest
}

/** `act(x[t, f]) * x[t, F + f]`, x `[T, 2 F]`. */
export function gluHalves(x: ArrayLike<number>, F: number, activation: "gelu_tanh" | "silu"): Float64Array {
  const y = new Float64Array(x.length / 2)
  const act = activation === "silu" ? silu : geluTanh
  for (let row = 0; row < y.length; row += F) {
    for (let f = 0; f < F; f++) y[row + f] = act(x[2 * row + f]!) * x[2 * row + F + f]!
  }
  return y
}

/** Gradient of `sum(gluHalves(x) * dy)`. */
export function gluHalvesBackward(
  x: ArrayLike<number>,
  F: number,
  dy: ArrayLike<number>,
  activation: "gelu_tanh" | "silu",
): Float64Array {
  const dx = new Float64Array(x.length)
  const [act, slope] = activation === "silu" ? [silu, siluSlope] : [geluTanh, geluTanhSlope]
  for (let row = 0; row < dy.length; row += F) {
    for (let f = 0; f < F; f++) {
      dx[2 * row + f] = dy[row + f]! * x[2 * row + F + f]! * slope(x[2 * row + f]!)
      dx[2 * row + F + f] = dy[row + f]! * act(x[2 * row + f]!)
    }
  }
  return dx
}
