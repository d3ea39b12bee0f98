export type Dtype = "f32" | "f16" | "bf16" | "u32"

const BYTES: Record<Dtype, number> = { f32: 4, f16: 2, bf16: 2, u32: 4 }

/** The memory behind a tensor: a buffer of its own, or scratch that gets one when its run is planned. */
export interface Storage {
  readonly byteLength: number
  buffer: GPUBuffer | undefined
}

/** A row-major array on the GPU. f16 and bf16 are packed two to a u32, lower index in the lower half. */
export interface Tensor {
  readonly shape: readonly number[]
  readonly dtype: Dtype
  readonly storage: Storage
  /** Where in the storage it begins, in bytes: a multiple of 256. */
  readonly byteOffset: number
}

/**
 * A matrix `[rows, C]` in its stored type, in as many parts as the device's largest binding asks for.
 * Part p holds rows `[firstRow, firstRow + rows)`.
 */
export interface Matrix {
  readonly shape: readonly [rows: number, columns: number]
  readonly dtype: Dtype
  readonly parts: readonly { readonly firstRow: number; readonly rows: number; readonly tensor: Tensor }[]
}

/** Elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1)
}

/** Bytes of a shape in a type, rounded up to whole u32 words. */
export function byteSize(shape: readonly number[], dtype: Dtype): number {
  return Math.ceil((sizeOf(shape) * BYTES[dtype]) / 4) * 4
}

/** A tensor without memory: `Device.allocate` may give it some. */
export function unbacked(shape: readonly number[], dtype: Dtype = "f32"): Tensor {
  return { shape, dtype, storage: { byteLength: byteSize(shape, dtype), buffer: undefined }, byteOffset: 0 }
}

/** The same elements under another shape. */
export function view(x: Tensor, shape: readonly number[]): Tensor {
  if (sizeOf(shape) !== sizeOf(x.shape)) {
    throw new RangeError(
      `view: shape is ${format(shape)}, expected ${sizeOf(x.shape)} elements as in ${format(x.shape)}`,
    )
  }
  return { ...x, shape }
}

/** Rows `[start, end)` along the first axis, without a copy. The rows before `start` must fill whole 256-byte blocks. */
export function rowSlice(x: Tensor, start: number, end: number): Tensor {
  const [rows = 0, ...rest] = x.shape
  if (start < 0 || end > rows || start >= end) {
    throw new RangeError(`rowSlice: rows are ${start} to ${end}, expected a part of 0 to ${rows}`)
  }
  const byteOffset = x.byteOffset + start * sizeOf(rest) * BYTES[x.dtype]
  if (byteOffset % 256 !== 0) {
    throw new RangeError(`rowSlice: row ${start} begins at byte ${byteOffset}, expected a multiple of 256`)
  }
  return { ...x, shape: [end - start, ...rest], byteOffset }
}

export function format(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`
}
