type Numbers = ArrayLike<number>

/** `norm[n] = || weight[n] + scale * sum_r b[n, r] * a[r] ||`, weight `[N, C]`, a `[R, C]`, b `[N, R]`. */
export function rowNorms(
  weight: Numbers,
  { a, b }: { a: Numbers; b: Numbers },
  C: number,
  scale: number,
): Float64Array {
  const R = a.length / C
  const norms = new Float64Array(weight.length / C)
  for (let n = 0; n < norms.length; n++) {
    let squares = 0
    for (let c = 0; c < C; c++) {
      let product = 0
      for (let r = 0; r < R; r++) product += b[n * R + r]! * a[r * C + c]!
      squares += (weight[n * C + c]! + scale * product) ** 2
    }
    norms[n] = Math.sqrt(squares)
  }
  return norms
}
