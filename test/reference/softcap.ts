/** `cap * tanh(x / cap)`, element by element. */
export function softcap(x: ArrayLike<number>, cap: number): Float64Array {
  return Float64Array.from(x, (value) => cap * Math.tanh(value / cap))
}
