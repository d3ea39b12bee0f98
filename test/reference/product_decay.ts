import { product, transpose } from "./low_rank.ts"

type Numbers = ArrayLike<number>
type Sizes = readonly [N: number, R: number, C: number]

/** `1/2 ||u v||_F^2`, u `[N, R]`, v `[R, C]`. */
export function halfSquare(u: Numbers, v: Numbers, [N, R, C]: Sizes): number {
  return product(u, v, [N, R, C]).reduce((sum, value) => sum + value * value, 0) / 2
}

/** Its gradients, by the product itself: `p = u v`, `du = p v^T`, `dv = u^T p`. */
export function productDecay(u: Numbers, v: Numbers, [N, R, C]: Sizes): { du: Float64Array; dv: Float64Array } {
  const p = product(u, v, [N, R, C])
  return {
    du: product(p, transpose(v, [R, C]), [N, C, R]),
    dv: product(transpose(u, [N, R]), p, [R, N, C]),
  }
}
