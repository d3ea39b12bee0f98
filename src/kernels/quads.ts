/**
 * Rows of words as types hold them whose rows lie in fours (src/kernels/tensor.ts).
 *
 * @param words  `[rows, perRow]`
 * @returns      `[ceil(rows / 4), perRow, 4]`, rows that are missing being 0
 */
export function toQuads(words: Uint32Array, perRow: number): Uint32Array<ArrayBuffer> {
  const rows = words.length / perRow
  const quads = new Uint32Array(Math.ceil(rows / 4) * 4 * perRow)
  for (let row = 0; row < rows; row++) {
    const first = firstWord(row, perRow)
    for (let j = 0; j < perRow; j++) quads[first + 4 * j] = words[row * perRow + j]!
  }
  return quads
}

/** The other way, for the first `rows` of them. */
export function fromQuads(quads: Uint32Array, perRow: number, rows: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(rows * perRow)
  for (let row = 0; row < rows; row++) {
    const first = firstWord(row, perRow)
    for (let j = 0; j < perRow; j++) words[row * perRow + j] = quads[first + 4 * j]!
  }
  return words
}

function firstWord(row: number, perRow: number): number {
  return (row - (row % 4)) * perRow + (row % 4)
}
