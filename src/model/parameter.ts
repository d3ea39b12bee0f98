import type { Device } from "../kernels/device.ts"
import { isQuantized } from "../kernels/quantize.ts"
import type { Variable } from "../kernels/tape.ts"
import { format, type Matrix, sizeOf, type Tensor } from "../kernels/tensor.ts"
import { type DType, decodeToFloat32 } from "./dtype.ts"
import { valuesOfRows } from "./quantized_rows.ts"

/** A weight, and its shape in files. */
export interface Parameter {
  readonly variable: Variable
  /** On the GPU there may be more rows or columns, which are zero. */
  readonly shape: readonly number[]
  /** What the forward pass reads in its place, being made of it: its gradient is taken for the variable's (straight-through). */
  readonly derived?: Matrix | undefined
}

/** What a parameter's gradient is taken with respect to. */
export function differentiated({ variable, derived }: Parameter): Variable {
  return derived ?? variable
}

/** The tensors that a variable lies in. */
export function tensorsOf(variable: Variable): readonly Tensor[] {
  return "parts" in variable ? variable.parts.map((part) => part.tensor) : [variable]
}

/** Reads values back, those of `shape` only, row-major, in whatever type they are stored. */
export async function readValues(
  device: Device,
  variable: Variable,
  shape: readonly number[],
): Promise<Float32Array<ArrayBuffer>> {
  const values = new Float32Array(sizeOf(shape))
  const [columns, stored] = [shape.at(-1)!, variable.shape.at(-1)!]
  let at = 0
  for (const tensor of tensorsOf(variable)) {
    const data = valuesIn(tensor, await device.read(tensor))
    if (columns === stored) {
      values.set(data.subarray(0, values.length - at), at)
      at = Math.min(values.length, at + data.length)
      continue
    }
    for (let row = 0; row < data.length / stored && at < values.length; row++, at += columns) {
      values.set(data.subarray(row * stored, row * stored + columns), at)
    }
  }
  return values
}

/** What the bytes of a tensor stand for. */
function valuesIn({ dtype, shape }: Tensor, bytes: ArrayBuffer): Float32Array<ArrayBuffer> {
  if (isQuantized(dtype)) return valuesOfRows(dtype, new Uint32Array(bytes), shape[0]!, shape[1]!)
  return decodeToFloat32(dtype.toUpperCase() as DType, new Uint8Array(bytes))
}

/** Writes f32 values of `shape`, row-major; what the variable has beyond them becomes zero. */
export function writeValues(device: Device, { variable, shape }: Parameter, values: Float32Array): void {
  if (values.length !== sizeOf(shape)) {
    throw new RangeError(`parameter: values are ${values.length}, expected ${sizeOf(shape)} for ${format(shape)}`)
  }
  const [columns, stored] = [shape.at(-1)!, variable.shape.at(-1)!]
  let at = 0
  for (const tensor of tensorsOf(variable)) {
    const data = new Float32Array(sizeOf(tensor.shape))
    for (let row = 0; row < data.length / stored && at < values.length; row++, at += columns) {
      data.set(values.subarray(at, at + columns), row * stored)
    }
    device.write(tensor, data)
  }
}

/** Gives a variable's memory back. */
export function freeVariable(device: Device, variable: Variable): void {
  for (const { storage } of tensorsOf(variable)) device.free(storage.buffer!)
}
