import type { QuantizedDtype } from "../kernels/quantize.ts"
import { fromGroups, toGroups } from "../kernels/row_groups.ts"
import { BLOCK, BLOCK_BYTES, type BlockType, decodeF16, decodeToFloat32, SIXTEENTHS } from "./dtype.ts"

/** Rows of codes as a file has them: `[rows, C / 2]` or `[rows, C]` bytes, and what each block of them shares. */
export interface CodedRows {
  readonly codes: Uint8Array
  /** `[rows, C / 32]` */
  readonly scales: Float32Array
  /** `[rows, C / 32]`: in q4 the code of 0 in sixteenths, in q8 nothing but zeros */
  readonly zeros: Uint8Array
}

/** Rows of blocks as the GPU has them (src/kernels/tensor.ts), in groups. Nothing is rounded. */
export function toRows(type: BlockType, blocks: Uint8Array<ArrayBuffer>, columns: number): Uint32Array<ArrayBuffer> {
  if (type === "Q8_0" || type === "q8") return toGroups("q8", wordsOfEight(type, blocks), columns)
  return toGroups("q4", wordsOfFour(type, blocks), columns)
}

/** The other way, for the first `count` rows. */
export function fromRows(
  dtype: QuantizedDtype,
  groups: Uint32Array<ArrayBuffer>,
  count: number,
  columns: number,
): CodedRows {
  const words = fromGroups(dtype, groups, columns, count)
  const bytes = new Uint8Array(words.buffer)
  const blocks = (count * columns) / BLOCK
  const [perBlock, width] = dtype === "q4" ? [5, BLOCK / 2] : [9, BLOCK]
  const bits = new Uint32Array(blocks)
  const [codes, zeros] = [new Uint8Array(blocks * width), new Uint8Array(blocks)]
  for (let b = 0; b < blocks; b++) {
    const behind = words[(b + 1) * perBlock - 1]!
    codes.set(bytes.subarray(4 * b * perBlock, 4 * b * perBlock + width), b * width)
    bits[b] = dtype === "q4" ? behind & ~255 : behind
    if (dtype === "q4") zeros[b] = behind & 255
  }
  if (dtype === "q4") swapMiddle(codes)
  return { codes, scales: new Float32Array(bits.buffer), zeros }
}

/** What the first `count` rows stand for, row-major. */
export function valuesOfRows(
  dtype: QuantizedDtype,
  groups: Uint32Array<ArrayBuffer>,
  count: number,
  columns: number,
): Float32Array<ArrayBuffer> {
  const { codes, scales, zeros } = fromRows(dtype, groups, count, columns)
  const [size, width] = [BLOCK_BYTES[dtype], codes.length / scales.length]
  const bytes = new Uint8Array(scales.length * size)
  const scaleBytes = new Uint8Array(scales.buffer)
  for (let b = 0; b < scales.length; b++) {
    bytes.set(codes.subarray(b * width, (b + 1) * width), b * size)
    bytes.set(scaleBytes.subarray(4 * b, 4 * b + 4), b * size + width)
    if (dtype === "q4") bytes[(b + 1) * size - 1] = zeros[b]!
  }
  return decodeToFloat32(dtype, bytes)
}

function wordsOfFour(type: "Q4_0" | "q4", blocks: Uint8Array): Uint32Array {
  const size = BLOCK_BYTES[type]
  const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.byteLength)
  const words = new Uint32Array((blocks.length / size) * 5)
  const [bytes, floats] = [new Uint8Array(words.buffer), new Float32Array(words.buffer)]
  for (let at = 0, to = 0; at < blocks.length; at += size, to += 5) {
    const codes = bytes.subarray(4 * to, 4 * to + 16)
    if (type === "q4") {
      codes.set(blocks.subarray(at, at + 16))
      words[to + 4] = (view.getUint32(at + 16, true) & ~255) | blocks[at + 20]!
    } else {
      inPairs(blocks.subarray(at + 2, at + 18), codes)
      floats[to + 4] = decodeF16(view.getUint16(at, true)) // its last bits are 0, being a float16
      words[to + 4] = words[to + 4]! | (8 * SIXTEENTHS)
    }
    swapMiddle(codes)
  }
  return words
}

/** Halves i and i + 16 of Q4_0 beside one another become halves 2 i and 2 i + 1. */
function inPairs(from: Uint8Array, into: Uint8Array): void {
  for (let i = 0; i < 8; i++) {
    const [a, b] = [from[2 * i]!, from[2 * i + 1]!]
    into[i] = (a & 15) | ((b & 15) << 4)
    into[i + 8] = (a >> 4) | (b & 0xf0)
  }
}

/** Columns 8 j to 8 j + 7 are bytes 0, 2, 1 and 3 of a word, two in each: the middle ones change places, either way. */
function swapMiddle(codes: Uint8Array): void {
  for (let i = 0; i < codes.length; i += 4) {
    const second = codes[i + 1]!
    codes[i + 1] = codes[i + 2]!
    codes[i + 2] = second
  }
}

function wordsOfEight(type: "Q8_0" | "q8", blocks: Uint8Array): Uint32Array {
  const size = BLOCK_BYTES[type]
  const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.byteLength)
  const words = new Uint32Array((blocks.length / size) * 9)
  const [bytes, floats] = [new Uint8Array(words.buffer), new Float32Array(words.buffer)]
  for (let at = 0, to = 0; at < blocks.length; at += size, to += 9) {
    const codes = type === "q8" ? at : at + 2
    bytes.set(blocks.subarray(codes, codes + BLOCK), 4 * to)
    floats[to + 8] = type === "q8" ? view.getFloat32(at + BLOCK, true) : decodeF16(view.getUint16(at, true))
  }
  return words
}
