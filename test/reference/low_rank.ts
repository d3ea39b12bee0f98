/** `x y` of `x [n, k]` and `y [k, m]` in float64. */
export function product(x: ArrayLike<number>, y: ArrayLike<number>, [n, k, m]: [number, number, number]): Float64Array {
  const result = new Float64Array(n * m)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) {
      let sum = 0
      for (let l = 0; l < k; l++) sum += x[i * k + l]! * y[l * m + j]!
      result[i * m + j] = sum
    }
  }
  return result
}

/** `[n, m]` -> `[m, n]` */
export function transpose(x: ArrayLike<number>, [n, m]: [number, number]): Float64Array {
  return Float64Array.from({ length: n * m }, (_, i) => x[(i % n) * m + Math.floor(i / n)]!)
}

/** `x + factor * y` */
export function plus(x: ArrayLike<number>, y: ArrayLike<number>, factor = 1): Float64Array {
  return Float64Array.from(x, (value, i) => value + factor * y[i]!)
}

export interface LowRank {
  rank: number
  scale: number
  in: number
  out: number
  a: ArrayLike<number>
  b: ArrayLike<number>
  magnitude?: ArrayLike<number>
}

/** `W + scale * B A` (arXiv:2106.09685), its rows then given their own norms in DoRA (arXiv:2402.09353). */
export function adapted(weight: ArrayLike<number>, module: LowRank): Float64Array {
  const { rank, scale, in: width, out, a, b, magnitude } = module
  const sum = plus(weight, product(b, a, [out, rank, width]), scale)
  if (!magnitude) return sum
  return sum.map((value, i) => {
    const row = Math.floor(i / width)
    return (magnitude[row]! * value) / Math.hypot(...sum.subarray(row * width, (row + 1) * width))
  })
}

/** Largest magnitude. */
export function largest(values: ArrayLike<number>): number {
  let most = 0
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]!))
  return most
}

/** How far the columns of `[n, m]` are from orthonormal. */
export function orthogonalityError(x: ArrayLike<number>, [n, m]: [number, number]): number {
  const gram = product(transpose(x, [n, m]), x, [m, n, m])
  return largest(gram.map((value, i) => value - (i % (m + 1) === 0 ? 1 : 0)))
}
