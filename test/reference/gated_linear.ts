import { glu } from "./glu.ts"
import { linear } from "./linear.ts"

/** `act(x gate^T) * (x up^T)`, x `[T, C]`, gate and up the halves of weight `[2 F, C]`. */
export function gatedLinear(
  x: ArrayLike<number>,
  weight: Float32Array | Float64Array,
  C: number,
  activation: "gelu_tanh" | "silu",
): Float64Array {
  const half = weight.length / 2
  const [gate, up] = [weight.subarray(0, half), weight.subarray(half)]
  return glu(linear(x, gate, C), linear(x, up, C), activation)
}
