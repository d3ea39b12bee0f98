import { plus, product, transpose } from "./low_rank.ts"

type Numbers = ArrayLike<number>

/** The norm of Frobenius. */
export function frobenius(x: Numbers): number {
  let squares = 0
  for (let i = 0; i < x.length; i++) squares += x[i]! ** 2
  return Math.sqrt(squares)
}

/** `||W - u v|| / ||W||` */
export function weightError(w: Numbers, u: Numbers, v: Numbers, [n, r, c]: [n: number, r: number, c: number]): number {
  return frobenius(plus(w, product(u, v, [n, r, c]), -1)) / frobenius(w)
}

/** `||X (W - u v)^T|| / ||X W^T||` for inputs `x [T, C]`. */
export function outputError(
  x: Numbers,
  w: Numbers,
  u: Numbers,
  v: Numbers,
  [t, n, r, c]: [t: number, n: number, r: number, c: number],
): number {
  const outputs = product(x, transpose(w, [n, c]), [t, c, n])
  const lowRank = product(product(x, transpose(v, [r, c]), [t, c, r]), transpose(u, [n, r]), [t, r, n])
  return frobenius(plus(outputs, lowRank, -1)) / frobenius(outputs)
}

/** `X^T X / T` */
export function secondMoment(x: Numbers, [t, c]: [t: number, c: number]): Float64Array {
  return product(transpose(x, [t, c]), x, [c, t, c]).map((value) => value / t)
}
