import { type Dtype, format, type Matrix, type Tensor } from "./tensor.ts"

/** The two sizes of a matrix-shaped tensor, after checking that there are two and that rows are whole vec4s. */
export function rows(op: string, name: string, x: Tensor | Matrix): [T: number, C: number] {
  const [T, C] = x.shape
  if (x.shape.length !== 2 || T === undefined || C === undefined) {
    throw new RangeError(`${op}: ${name} is ${format(x.shape)}, expected [T, C]`)
  }
  expectVec4(op, name, C)
  return [T, C]
}

/** The three sizes of a tensor of heads. */
export function heads(op: string, name: string, x: Tensor): [T: number, H: number, D: number] {
  const [T, H, D] = x.shape
  if (x.shape.length !== 3 || T === undefined || H === undefined || D === undefined) {
    throw new RangeError(`${op}: ${name} is ${format(x.shape)}, expected [T, H, D]`)
  }
  expectVec4(op, name, D)
  return [T, H, D]
}

export function expectShape(op: string, name: string, x: Tensor | Matrix, shape: readonly number[]): void {
  if (x.shape.length !== shape.length || x.shape.some((n, i) => n !== shape[i])) {
    throw new RangeError(`${op}: ${name} is ${format(x.shape)}, expected ${format(shape)}`)
  }
}

export function expectDtype(op: string, name: string, x: Tensor, dtype: Dtype): void {
  if (x.dtype !== dtype) throw new TypeError(`${op}: ${name} is ${x.dtype}, expected ${dtype}`)
}

function expectVec4(op: string, name: string, width: number): void {
  if (width % 4 !== 0) throw new RangeError(`${op}: ${name} has rows of ${width}, expected a multiple of 4`)
}

/** Workgroups for n of them in a row, folded where one dimension would pass the limit of 65535: n or a few more. */
export function fold(n: number): [x: number, y: number] {
  const y = Math.ceil(n / 65535)
  return [Math.ceil(n / y), y]
}
