/** `a * b`, element by element. */
export function multiply(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  return Float64Array.from(a, (value, i) => value * b[i]!)
}
