/** A ternary row as memory holds it: trit + 1 of column 16 j + 4 k + b in word j, times 2^(8 b + 2 k); then the scale. */
export function ternaryRow(trits: ArrayLike<number>, scale: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(trits.length / 16 + 1)
  for (let j = 0; j < words.length - 1; j++) {
    for (let k = 0; k < 4; k++) {
      for (let b = 0; b < 4; b++) words[j]! += (trits[16 * j + 4 * k + b]! + 1) * 2 ** (8 * b + 2 * k)
    }
  }
  new DataView(words.buffer).setFloat32(words.byteLength - 4, scale, true)
  return words
}

/** Rows as memory holds them in fours: word j of row n at `4 (w floor(n / 4) + j) + n mod 4`, w being the words of a row. */
export function inFours(rows: readonly Uint32Array[]): Uint32Array<ArrayBuffer> {
  const w = rows[0]!.length
  const memory = new Uint32Array(4 * w * Math.ceil(rows.length / 4))
  for (const [n, row] of rows.entries()) {
    for (const [j, word] of row.entries()) memory[4 * (w * Math.floor(n / 4) + j) + (n % 4)] = word
  }
  return memory
}

/** The first n rows that such memory holds, of w words each. */
export function rowsInFours(memory: Uint32Array, n: number, w: number): Uint32Array<ArrayBuffer>[] {
  const word = (row: number, j: number) => memory[4 * (w * Math.floor(row / 4) + j) + (row % 4)]!
  return Array.from({ length: n }, (_, row) => Uint32Array.from({ length: w }, (_, j) => word(row, j)))
}

/** What int8 rows of width C hold: codes `[T, C]`, scales `[T]` and sums `[T]`. */
export function int8Rows(memory: ArrayBuffer, C: number) {
  const stride = C + 16 // eight bytes of them unused
  const T = memory.byteLength / stride
  const data = new DataView(memory)
  const codes = Float64Array.from({ length: T * C }, (_, i) => data.getInt8(Math.floor(i / C) * stride + (i % C)))
  const scales = Float64Array.from({ length: T }, (_, t) => data.getFloat32(t * stride + C, true))
  const sums = Float64Array.from({ length: T }, (_, t) => data.getInt32(t * stride + C + 4, true))
  return { codes, scales, sums, values: codes.map((code, i) => code * scales[Math.floor(i / C)]!) }
}

/** Trit n of the block of 256 that these 52 bytes hold: digit by digit, in base 3. */
export function base3Trit(bytes: Uint8Array, n: number): number {
  const [byte, place] =
    n < 160
      ? [n % 32, Math.floor(n / 32)]
      : n < 240
        ? [32 + (n % 16), Math.floor((n - 160) / 16)]
        : [48 + (n % 4), (n - 240) >> 2]
  const digits = Math.floor((bytes[byte]! * 243) / 256) // five digits of it, the first in the highest place
  return (Math.floor(digits / 3 ** (4 - place)) % 3) - 1
}
