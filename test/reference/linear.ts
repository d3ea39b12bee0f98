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

/** Gradient of `sum(linear(x, weight) * dy)` with respect to x: `dx[t, c] = sum_n dy[t, n] * weight[n, c]`. */
export function linearBackwardInput(dy: ArrayLike<number>, weight: ArrayLike<number>, C: number): Float64Array {
  const N = weight.length / C
  const dx = new Float64Array((dy.length / N) * C)
  for (let i = 0; i < dy.length; i++) {
    const [t, n] = [Math.floor(i / N), i % N]
    for (let c = 0; c < C; c++) dx[t * C + c]! += dy[i]! * weight[n * C + c]!
  }
  return dx
}

/** Gradient of `sum(linear(x, weight) * dy)` with respect to the weight: `dweight[n, c] = sum_t dy[t, n] * x[t, c]`. */
export function linearBackwardWeight(dy: ArrayLike<number>, x: ArrayLike<number>, C: number): Float64Array {
  const N = dy.length / (x.length / C)
  const dweight = new Float64Array(N * C)
  for (let i = 0; i < dy.length; i++) {
    const [t, n] = [Math.floor(i / N), i % N]
    for (let c = 0; c < C; c++) dweight[n * C + c]! += dy[i]! * x[t * C + c]!
  }
  return dweight
}
