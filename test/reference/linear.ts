/** `y[t, n] = sum_c x[t, c] * weight[n, c]`, x `[T, C]`, weight `[N, C]`. */
export function linear(x: ArrayLike<number>, weight: ArrayLike<number>, C: number): Float64Array {
  const T = x.length / C
  const N = weight.length / C
  const y = new Float64Array(T * N)
  for (let t = 0; t < T; t++) {
    for (let n = 0; n < N; n++) {
      let sum = 0
      for (let c = 0; c < C; c++) sum += x[t * C + c]! * weight[n * C + c]!
      y[t * N + n] = sum
    }
  }
  return y
}
