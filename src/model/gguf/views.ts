import { BLOCK, BLOCK_BYTES, type BlockType, DTYPE_BYTES, decodeToFloat32, isBlockType } from "../dtype.ts"
import { expectRange, type Source } from "../source.ts"
import type { GgufType } from "./header.ts"

/** Bytes `[start, end)` of a source as a source. */
export function partOf(source: Source, start: number, end: number): Source {
  return view(end - start, 1, (from, to) => source.slice(start + from, start + to))
}

/**
 * A tensor's elements plus `offset`, as float32. Decoding is exact; the sum is rounded to float32 once.
 *
 * @param source the tensor's bytes and nothing else
 */
export function floatsOf(source: Source, type: GgufType | BlockType, offset: 0 | -1): Source {
  const [elements, bytes] = isBlockType(type) ? [BLOCK, BLOCK_BYTES[type]] : [1, DTYPE_BYTES[type]]
  const width = elements * DTYPE_BYTES.F32
  return view((source.byteLength / bytes) * width, width, async (from, to) => {
    const stored = await source.slice((from / width) * bytes, (to / width) * bytes)
    const values = decodeToFloat32(type, new Uint8Array(stored))
    if (offset !== 0) for (let i = 0; i < values.length; i++) values[i] = values[i]! + offset
    return values.buffer
  })
}

/**
 * Rows of queries or keys in the checkpoint's order. llama.cpp rotates neighbours where transformers rotates halves, so its
 * conversion (`LlamaModel.permute`) puts row j of a head's first half to 2 j, and row j of the second to 2 j + 1.
 *
 * @param source the tensor's bytes and nothing else
 * @param rows   of a head
 */
export function unpermuted(source: Source, rowBytes: number, rows: number): Source {
  const head = rows * rowBytes
  return view(source.byteLength, head, async (from, to) => {
    const stored = new Uint8Array(await source.slice(from, to))
    const bytes = new Uint8Array(stored.byteLength)
    for (let at = 0; at < bytes.byteLength; at += rowBytes) {
      const row = (at % head) / rowBytes
      const there = row < rows / 2 ? 2 * row : 2 * row - rows + 1
      const start = at + (there - row) * rowBytes
      bytes.set(stored.subarray(start, start + rowBytes), at)
    }
    return bytes.buffer
  })
}

/** A source of which only whole units can be made: any range is cut from those that cover it. */
function view(byteLength: number, unit: number, read: (from: number, to: number) => Promise<ArrayBuffer>): Source {
  return {
    byteLength,
    async slice(start, end) {
      expectRange("tensor", start, end, byteLength)
      const from = Math.floor(start / unit) * unit
      const bytes = await read(from, Math.ceil(end / unit) * unit)
      return from === start && bytes.byteLength === end - start ? bytes : bytes.slice(start - from, end - from)
    },
  }
}
