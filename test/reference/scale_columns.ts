type Numbers = ArrayLike<number>

/** `y[t, n] = x[t, n] * magnitude[n] / norm[n]`, x `[T, N]`, magnitude and norm `[N]`. */
export function scaleColumns(x: Numbers, magnitude: Numbers, norm: Numbers): Float64Array {
  const N = norm.length
  return Float64Array.from(x, (value, i) => (value * magnitude[i % N]!) / norm[i % N]!)
}

/** Gradients of `sum(scaleColumns(x, magnitude, norm) * dy)` with respect to x and magnitude. */
export function scaleColumnsBackward(
  x: Numbers,
  magnitude: Numbers,
  norm: Numbers,
  dy: Numbers,
): { dx: Float64Array; dmagnitude: Float64Array } {
  const N = norm.length
  const dx = new Float64Array(x.length)
  const dmagnitude = new Float64Array(N)
  for (let i = 0; i < x.length; i++) {
    const n = i % N
    dx[i] = (dy[i]! * magnitude[n]!) / norm[n]!
    dmagnitude[n]! += (dy[i]! * x[i]!) / norm[n]!
  }
  return { dx, dmagnitude }
}
