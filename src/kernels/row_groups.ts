import { type RowDtype, rowsTogether, rowWords } from "./tensor.ts"

/**
 * Rows of words as types hold them whose rows lie in groups (src/kernels/tensor.ts).
 *
 * @param words  `[rows, w]`, w being the words of a row of so many columns
 * @returns      `[ceil(rows / together), w, together]`, rows that are missing being 0
 */
export function toGroups(dtype: RowDtype, words: Uint32Array, columns: number): Uint32Array<ArrayBuffer> {
  const [perRow, together] = [rowWords([columns], dtype), rowsTogether(dtype)]
  const rows = words.length / perRow
  const groups = new Uint32Array(Math.ceil(rows / together) * together * perRow)
  for (let row = 0; row < rows; row++) {
    const first = firstWord(row, perRow, together)
    for (let j = 0; j < perRow; j++) groups[first + together * j] = words[row * perRow + j]!
  }
  return groups
}

/** The other way, for the first `rows` of them. */
export function fromGroups(
  dtype: RowDtype,
  groups: Uint32Array,
  columns: number,
  rows: number,
): Uint32Array<ArrayBuffer> {
  const [perRow, together] = [rowWords([columns], dtype), rowsTogether(dtype)]
  const words = new Uint32Array(rows * perRow)
  for (let row = 0; row < rows; row++) {
    const first = firstWord(row, perRow, together)
    for (let j = 0; j < perRow; j++) words[row * perRow + j] = groups[first + together * j]!
  }
  return words
}

function firstWord(row: number, perRow: number, together: number): number {
  return (row - (row % together)) * perRow + (row % together)
}
