/** `y[t] = x[t] / sqrt(mean(x[t]^2) + eps) * (offset + weight)`, x `[T, C]`, weight `[C]`. */
export function rmsNorm(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  { eps, offset }: { eps: number; offset: number },
): Float64Array {
  const C = weight.length
  const y = Float64Array.from(x)
  for (let row = 0; row < y.length; row += C) {
    let squares = 0
    for (let c = 0; c < C; c++) squares += x[row + c]! ** 2
    const rms = Math.sqrt(squares / C + eps)
    for (let c = 0; c < C; c++) y[row + c] = (x[row + c]! / rms) * (offset + weight[c]!)
  }
  return y
}
