import { product } from "./low_rank.ts"

type Numbers = ArrayLike<number>

export const ACTIVATIONS = {
  relu: (x: number) => Math.max(0, x),
  gelu_tanh: (x: number) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  silu: (x: number) => x / (1 + Math.exp(-x)),
}

const REACH = 9
const STEP = 1 / 24

/**
 * `E ||act(W x) - act(u v x)||^2` over x of the standard normal distribution: of each unit the two numbers `w . x` and
 * `v . x` lie in a plane, over which the trapezoidal rule goes.
 */
export function distance(
  act: (x: number) => number,
  w: Numbers,
  u: Numbers,
  v: Numbers,
  [n, r, c]: [n: number, r: number, c: number],
): number {
  const uv = product(u, v, [n, r, c])
  let sum = 0
  for (let i = 0; i < n; i++) {
    let [ww, wv, vv] = [0, 0, 0]
    for (let j = i * c; j < (i + 1) * c; j++) {
      ww += w[j]! ** 2
      wv += w[j]! * uv[j]!
      vv += uv[j]! ** 2
    }
    // In the plane w is [first, 0] and v is [along, across].
    const first = Math.sqrt(ww)
    const along = wv / first
    sum += planeIntegral((a, b) => (act(first * a) - act(along * a + Math.sqrt(vv - along ** 2) * b)) ** 2)
  }
  return sum
}

function planeIntegral(f: (a: number, b: number) => number): number {
  let sum = 0
  for (let a = -REACH; a <= REACH; a += STEP) {
    for (let b = -REACH; b <= REACH; b += STEP) {
      sum += f(a, b) * Math.exp(-(a ** 2 + b ** 2) / 2)
    }
  }
  return (sum * STEP ** 2) / (2 * Math.PI)
}
