import { fromGroups, toGroups } from "../kernels/row_groups.ts"
import { packBase3, packRow, unpackBase3, unpackRow } from "../kernels/ternary.ts"
import type { StoredTensor } from "./checkpoint.ts"

/** Trits of a block in base 3, and its bytes. */
const BLOCK = 256
const BLOCK_BYTES = 52

/** How trits lie in a file: four to a byte, or 256 to 52 bytes. */
export const PACKINGS = ["two-bit", "base3"] as const
export type Packing = (typeof PACKINGS)[number]

/** Name of the number that the trits of a weight are multiplied by. */
export function scaleName(weight: string): string {
  return `${weight}_scale`
}

/** Bytes of a row of trits. */
export function packedBytes(columns: number, packing: Packing): number {
  return packing === "two-bit" ? columns / 4 : (columns / BLOCK) * BLOCK_BYTES
}

/** How a weight of so many columns lies in a tensor of bytes. */
export function packingOf({ info }: StoredTensor, columns: number): Packing {
  return info.shape[1] === packedBytes(columns, "two-bit") ? "two-bit" : "base3"
}

/**
 * The scale of a weight that is stored in ternary form, after checking both; undefined where it is stored in full.
 *
 * @throws {RangeError} for bytes of another shape, or without a scale
 */
export function expectTernary(
  stored: StoredTensor,
  [rows, columns]: readonly number[],
  tensors: ReadonlyMap<string, StoredTensor>,
): StoredTensor | undefined {
  const { file, info } = stored
  if (info.dtype !== "U8") return undefined
  const widths = [packedBytes(columns!, "two-bit"), ...(columns! % BLOCK === 0 ? [packedBytes(columns!, "base3")] : [])]
  if (info.shape.length !== 2 || info.shape[0] !== rows || !widths.includes(info.shape[1]!)) {
    const expected = widths.map((width) => `[${rows}, ${width}]`).join(" or ")
    throw new RangeError(`${file}: ${info.name} is [${info.shape.join(", ")}] bytes, expected ${expected}`)
  }
  const scale = tensors.get(scaleName(info.name))
  if (scale?.info.dtype === "F32" && scale.info.shape.join() === "1") return scale
  const is = scale ? `${scale.info.dtype} [${scale.info.shape.join(", ")}]` : "missing"
  throw new RangeError(`${file}: ${scaleName(info.name)} is ${is}, expected F32 [1]`)
}

/** Rows of a file's trits as the GPU has them: words, and the scale behind each row, rows in fours. */
export function toRows(
  bytes: Uint8Array<ArrayBuffer>,
  rows: number,
  columns: number,
  packing: Packing,
  scale: number,
): Uint32Array<ArrayBuffer> {
  const words = columns / 16
  const result = new Uint32Array(rows * (words + 1))
  if (packing === "base3") {
    const trits = unpackBase3(bytes, rows * columns)
    for (let row = 0; row < rows; row++) {
      result.set(packRow(trits.subarray(row * columns, (row + 1) * columns), scale), row * (words + 1))
    }
    return toGroups("ternary", result, columns)
  }
  const stored = new Uint32Array(bytes.buffer, bytes.byteOffset, rows * words)
  const scales = new Float32Array(result.buffer)
  for (let row = 0; row < rows; row++) {
    result.set(stored.subarray(row * words, (row + 1) * words), row * (words + 1))
    scales[row * (words + 1) + words] = scale
  }
  return toGroups("ternary", result, columns)
}

/** The other way, for the first `count` rows: the bytes of a file, and the scale. */
export function fromRows(
  quads: Uint32Array<ArrayBuffer>,
  count: number,
  columns: number,
  packing: Packing,
): { bytes: Uint8Array<ArrayBuffer>; scale: number } {
  const words = columns / 16
  const rows = fromGroups("ternary", quads, columns, count)
  const scale = new Float32Array(rows.buffer)[words]!
  const bytes = new Uint8Array(count * packedBytes(columns, packing))
  for (let row = 0; row < count; row++) {
    const from = rows.subarray(row * (words + 1), (row + 1) * (words + 1))
    const packed = packing === "base3" ? packBase3(unpackRow(from).trits) : bytesOf(from.subarray(0, words))
    bytes.set(packed, row * packed.length)
  }
  return { bytes, scale }
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
}
