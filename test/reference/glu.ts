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
