export type Dtype = "f32" | "f16" | "bf16" | "u32" | RowDtype

/**
 * Types of which a row is words of codes with what these need. A row of C columns is
 *
 * - ternary (BitNet b1.58, arXiv:2402.17764), C a multiple of 16: C / 16 words of 16 trits, then the row's scale in f32. A trit
 *   is stored as trit + 1 in two bits; column 16 j + 4 k + b lies in word j at bits 8 b + 2 k, so that
 *   `(word >> 2k) & 0x03030303` is four neighbours in four bytes. A weight is scale * trit.
 * - q4, C a multiple of 32: for each block of 32 columns 4 words of eight codes from 0 to 15, then a word that is the block's
 *   scale in f32, but for its last eight bits, which are the block's zero in sixteenths. Columns 8 j + 4 h + (0, 1, 2, 3) lie in
 *   word j at bits 8 h + (0, 4, 16, 20). A weight is scale * (code - zero), and that is exact in f32.
 * - q8, C a multiple of 32: for each block of 32 columns 8 words of four signed codes, then the block's scale in f32. A weight is
 *   scale * code.
 * - int8, activations as in BitNet, C a multiple of 4: C / 4 words of four signed codes, then the row's scale in f32, then the
 *   sum of its codes in i32: sum(trit * code) is sum((trit + 1) * code) less that sum. Two words of nothing follow, so that
 *   rows of a multiple of 16 begin where a vec4 may. A value is code * scale.
 * - row8, heads of keys and values, C a multiple of 4: C / 4 words of four signed codes, then the row's scale in f32. A value is
 *   code * scale.
 *
 * Rows of int8 and row8 lie one behind the other. Those of the weights lie in groups, trits in fours, q4 and q8 in thirty-twos: word j
 * of all rows of a group, next to one another, then word j + 1 of each. So one load of a vec4 serves four rows, and neighbours that
 * load read one stream. What is missing in the last group is zeros.
 */
export type RowDtype = "ternary" | "q4" | "q8" | "int8" | "row8"

const BYTES: Record<Exclude<Dtype, RowDtype>, number> = { f32: 4, f16: 2, bf16: 2, u32: 4 }

/** How rows are made: `words` for each `columns`, `behind` for the row; how many rows lie together. */
interface Rows {
  readonly columns: number
  readonly words: number
  readonly behind: number
  readonly together: number
}

const ROWS: Record<RowDtype, Rows> = {
  ternary: { columns: 16, words: 1, behind: 1, together: 4 },
  q4: { columns: 32, words: 5, behind: 0, together: 32 },
  q8: { columns: 32, words: 9, behind: 0, together: 32 },
  int8: { columns: 4, words: 1, behind: 4, together: 1 },
  row8: { columns: 4, words: 1, behind: 1, together: 1 },
}

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
  return Math.ceil(bytesOf(shape, dtype) / 4) * 4
}

function bytesOf(shape: readonly number[], dtype: Dtype): number {
  if (!isRowDtype(dtype)) return sizeOf(shape) * BYTES[dtype]
  const { together } = ROWS[dtype]
  const rows = sizeOf(shape.slice(0, -1))
  return Math.ceil(rows / together) * together * rowWords(shape, dtype) * 4
}

function isRowDtype(dtype: Dtype): dtype is RowDtype {
  return dtype in ROWS
}

/** Words of one row of a shape. */
export function rowWords(shape: readonly number[], dtype: RowDtype): number {
  const { columns, words, behind } = ROWS[dtype]
  const C = shape.at(-1) ?? 0
  if (C % columns !== 0) {
    throw new RangeError(`${dtype} ${format(shape)}: rows are of ${C}, expected a multiple of ${columns}`)
  }
  return (C / columns) * words + behind
}

/** How many rows of a type lie together: only whole groups of them can be told apart by where they begin. */
export function rowsTogether(dtype: Dtype): number {
  return isRowDtype(dtype) ? ROWS[dtype].together : 1
}

/** A tensor without memory: `Device.allocate` may give it some. */
export function unbacked(shape: readonly number[], dtype: Dtype = "f32"): Tensor {
  return { shape, dtype, storage: { byteLength: byteSize(shape, dtype), buffer: undefined }, byteOffset: 0 }
}

/** The same elements under another shape; rows of codes stay as they are. */
export function view(x: Tensor, shape: readonly number[]): Tensor {
  if (sizeOf(shape) !== sizeOf(x.shape)) {
    throw new RangeError(
      `view: shape is ${format(shape)}, expected ${sizeOf(x.shape)} elements as in ${format(x.shape)}`,
    )
  }
  if (isRowDtype(x.dtype) && shape.at(-1) !== x.shape.at(-1)) {
    throw new RangeError(`view: ${x.dtype} shape is ${format(shape)}, expected rows as in ${format(x.shape)}`)
  }
  return { ...x, shape }
}

/** Rows `[start, end)` along the first axis, without a copy. The rows before `start` must fill whole 256-byte blocks. */
export function rowSlice(x: Tensor, start: number, end: number): Tensor {
  const [rows = 0, ...rest] = x.shape
  if (start < 0 || end > rows || start >= end) {
    throw new RangeError(`rowSlice: rows are ${start} to ${end}, expected a part of 0 to ${rows}`)
  }
  const together = rowsTogether(x.dtype)
  if (start % together !== 0) {
    throw new RangeError(`rowSlice: ${x.dtype} rows begin at ${start}, expected a multiple of ${together}`)
  }
  const byteOffset = x.byteOffset + bytesOf([start, ...rest], x.dtype)
  if (byteOffset % 256 !== 0) {
    throw new RangeError(`rowSlice: row ${start} begins at byte ${byteOffset}, expected a multiple of 256`)
  }
  return { ...x, shape: [end - start, ...rest], byteOffset }
}

export function format(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`
}
