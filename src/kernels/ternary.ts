/** Trits of a block, and the bytes that it takes in base 3. */
const BLOCK_TRITS = 256
const BLOCK_BYTES = 52

/**
 * How a block of 256 columns lies in 52 bytes, as in llama.cpp's TQ1_0: byte m of a group of bytes holds the trits of columns
 * `column + m + n * bytes` for n below `trits`, the first in the highest place.
 */
const GROUPS = [
  { byte: 0, bytes: 32, column: 0, trits: 5 },
  { byte: 32, bytes: 16, column: 160, trits: 5 },
  { byte: 48, bytes: 4, column: 240, trits: 4 },
] as const

/**
 * Trits in base 3: 256 in 52 bytes. A byte is `ceil(256 v / 243)` of `v = sum of (trit + 1) * 3^(4 - n)`, so that multiplying it
 * by 3 again and again pushes one trit after the other over its top.
 *
 * @param trits -1, 0 or 1, a multiple of 256 of them
 */
export function packBase3(trits: Int8Array): Uint8Array<ArrayBuffer> {
  const blocks = blocksOf("packBase3", trits.length)
  const bytes = new Uint8Array(blocks * BLOCK_BYTES)
  for (let block = 0; block < blocks; block++) {
    for (const group of GROUPS) {
      for (let m = 0; m < group.bytes; m++) {
        let v = 0
        for (let n = 0; n < 5; n++) {
          v *= 3
          if (n < group.trits) v += codeOf("packBase3", trits, block * BLOCK_TRITS + group.column + m + n * group.bytes)
        }
        bytes[block * BLOCK_BYTES + group.byte + m] = Math.ceil((256 * v) / 243)
      }
    }
  }
  return bytes
}

/** The n trits that `packBase3` packed. */
export function unpackBase3(bytes: Uint8Array, n: number): Int8Array<ArrayBuffer> {
  const blocks = blocksOf("unpackBase3", n)
  if (bytes.length !== blocks * BLOCK_BYTES) {
    throw new RangeError(`unpackBase3: bytes are ${bytes.length}, expected ${blocks * BLOCK_BYTES} for ${n} trits`)
  }
  const trits = new Int8Array(n)
  for (let block = 0; block < blocks; block++) {
    for (const group of GROUPS) {
      for (let m = 0; m < group.bytes; m++) {
        let rest = bytes[block * BLOCK_BYTES + group.byte + m]!
        for (let n = 0; n < group.trits; n++) {
          trits[block * BLOCK_TRITS + group.column + m + n * group.bytes] = ((rest * 3) >> 8) - 1
          rest = (rest * 3) % 256
        }
      }
    }
  }
  return trits
}

/**
 * A row as tensors of type ternary hold it (src/kernels/tensor.ts).
 *
 * @param trits -1, 0 or 1, a multiple of 16 of them
 * @returns     a word per 16 trits, then the bits of the scale
 */
export function packRow(trits: Int8Array, scale: number): Uint32Array<ArrayBuffer> {
  if (trits.length % 16 !== 0) {
    throw new RangeError(`packRow: trits are ${trits.length}, expected a multiple of 16`)
  }
  const words = new Uint32Array(trits.length / 16 + 1)
  for (let c = 0; c < trits.length; c++) words[c >> 4]! |= codeOf("packRow", trits, c) << bitOf(c)
  new Float32Array(words.buffer)[trits.length / 16] = scale
  return words
}

/** The trits and the scale of a row that `packRow` packed. */
export function unpackRow(words: Uint32Array): { trits: Int8Array<ArrayBuffer>; scale: number } {
  const n = words.length - 1
  const trits = Int8Array.from({ length: 16 * n }, (_, c) => ((words[c >> 4]! >>> bitOf(c)) & 3) - 1)
  return { trits, scale: new Float32Array(words.slice(n).buffer)[0]! }
}

/** Where column c begins in its word: columns 4 k + b of a word at bits 8 b + 2 k. */
function bitOf(c: number): number {
  return 8 * (c & 3) + 2 * ((c >> 2) & 3)
}

function codeOf(what: string, trits: Int8Array, i: number): number {
  const code = trits[i]! + 1
  if (code < 0 || code > 2) throw new RangeError(`${what}: trit ${i} is ${trits[i]}, expected -1, 0 or 1`)
  return code
}

function blocksOf(what: string, n: number): number {
  if (n % BLOCK_TRITS !== 0) throw new RangeError(`${what}: trits are ${n}, expected a multiple of ${BLOCK_TRITS}`)
  return n / BLOCK_TRITS
}
