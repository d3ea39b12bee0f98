import { CholeskyDecomposition, inverse, Matrix } from "ml-matrix"

/**
 * Codes of rows of a weight in four bits, by GPTQ's own steps (arXiv:2210.17323, algorithm 1): with U upper triangular,
 * `U^T U = (H + 0.01 mean(diag H))^-1`, each column's error by U[j, j] goes to the columns k behind it times U[j, k].
 *
 * @param grids the scale and zero of each block of 32
 */
export function gptq(
  weight: ArrayLike<number>,
  moment: ArrayLike<number>,
  C: number,
  grids: { readonly scales: ArrayLike<number>; readonly zeros: ArrayLike<number> },
): Uint8Array {
  const h = new Matrix(Array.from({ length: C }, (_, j) => Array.from({ length: C }, (_, k) => moment[j * C + k]!)))
  h.add(Matrix.eye(C, C).mul((0.01 * h.trace()) / C))
  const inverted = inverse(h) // symmetric but for its rounding
  const symmetric = Matrix.add(inverted, inverted.transpose()).div(2)
  const u = new CholeskyDecomposition(symmetric).lowerTriangularMatrix.transpose()
  const codes = new Uint8Array(weight.length)
  for (let row = 0; row < weight.length; row += C) {
    const w = Array.from({ length: C }, (_, c) => weight[row + c]!)
    for (let j = 0; j < C; j++) {
      const [scale, zero] = [grids.scales[(row + j) >> 5]!, grids.zeros[(row + j) >> 5]!]
      const code = Math.min(15, Math.max(0, Math.round(w[j]! / scale + zero)))
      codes[row + j] = code
      const error = (w[j]! - scale * (code - zero)) / u.get(j, j)
      for (let k = j + 1; k < C; k++) w[k] = w[k]! - error * u.get(j, k)
    }
  }
  return codes
}
