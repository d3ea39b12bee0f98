/** `cap * tanh(x / cap)`, element by element. */
export function softcap(x: ArrayLike<number>, cap: number): Float64Array {
  return Float64Array.from(x, (value) => cap * Math.tanh(value / cap))
}

/** Gradient of `sum(softcap(x) * dy)`. */
export function softcapBackward(x: ArrayLike<number>, dy: ArrayLike<number>, cap: number): Float64Array {
  return Float64Array.from(x, (value, i) => dy[i]! / Math.cosh(value / cap) ** 2)
}
