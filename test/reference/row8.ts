/** Rows in eight bits: what each code and each row's scale is, and the numbers that they stand for. */
export interface Row8 {
  readonly codes: readonly number[]
  readonly scales: readonly number[]
  readonly values: Float64Array
}

/** Rows of C numbers rounded: `code = round(x / scale)`, `scale = max |x| / 127`, as memory holds them. */
export function encodeRow8(x: ArrayLike<number>, C: number): Uint32Array<ArrayBuffer> {
  const bytes = new DataView(new ArrayBuffer((x.length / C) * (C + 4)))
  for (let row = 0; row < x.length / C; row++) {
    const values = Array.from({ length: C }, (_, c) => x[row * C + c]!)
    const scale = Math.fround(Math.max(...values.map(Math.abs)) / 127)
    values.forEach((value, c) => {
      bytes.setInt8(row * (C + 4) + c, scale === 0 ? 0 : Math.round(value / scale))
    })
    bytes.setFloat32(row * (C + 4) + C, scale, true)
  }
  return new Uint32Array(bytes.buffer)
}

/** What memory of such rows holds. */
export function decodeRow8(memory: Uint32Array, C: number): Row8 {
  const bytes = new DataView(memory.buffer, memory.byteOffset, memory.byteLength)
  const rows = memory.byteLength / (C + 4)
  const codes = Array.from({ length: rows * C }, (_, i) => bytes.getInt8(Math.floor(i / C) * (C + 4) + (i % C)))
  const scales = Array.from({ length: rows }, (_, row) => bytes.getFloat32(row * (C + 4) + C, true))
  return { codes, scales, values: Float64Array.from(codes, (code, i) => code * scales[Math.floor(i / C)]!) }
}
