/** What sum is after `sum += x`, element by element. */
export function accumulate(sum: ArrayLike<number>, x: ArrayLike<number>): Float64Array {
  return Float64Array.from(sum, (value, i) => value + x[i]!)
}
