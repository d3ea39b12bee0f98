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

/** Gradients of `sum(rmsNorm(x, weight) * dy)`. */
export function rmsNormBackward(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  dy: ArrayLike<number>,
  { eps, offset }: { eps: number; offset: number },
): { dx: Float64Array; dweight: Float64Array } {
  const C = weight.length
  const dx = new Float64Array(x.length)
  const dweight = new Float64Array(C)
  for (let row = 0; row < x.length; row += C) {
    let squares = 0
    let along = 0
    for (let c = 0; c < C; c++) {
      squares += x[row + c]! ** 2
      along += dy[row + c]! * (offset + weight[c]!) * x[row + c]!
    }
    const rms = Math.sqrt(squares / C + eps)
    for (let c = 0; c < C; c++) {
      dx[row + c] = (dy[row + c]! * (offset + weight[c]!)) / rms - (x[row + c]! * along) / (C * rms ** 3)
      dweight[c]! += (dy[row + c]! * x[row + c]!) / rms
    }
  }
  return { dx, dweight }
}
