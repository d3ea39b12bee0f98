/** `y[t] = x[t] + bias`, x `[T, N]`, bias `[N]`. */
export function addBias(x: ArrayLike<number>, bias: ArrayLike<number>): Float64Array {
  return Float64Array.from(x, (value, i) => value + bias[i % bias.length]!)
}

/** Gradient of `sum(addBias(x, bias) * dy)` with respect to bias. */
export function addBiasBackward(dy: ArrayLike<number>, N: number): Float64Array {
  const dbias = new Float64Array(N)
  for (let i = 0; i < dy.length; i++) dbias[i % N]! += dy[i]!
  return dbias
}
