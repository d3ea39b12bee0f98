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
