import { chunksOf } from "./chunks.ts"

/** The reversed polynomial of ISO 3309, which zip files take their sums by. */
const POLYNOMIAL = 0xedb88320

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1
  return value
})

/** The CRC-32 of bytes, or of those that came before and these. */
export function crc32(bytes: Uint8Array, before = 0): number {
  let value = ~before
  for (let i = 0; i < bytes.length; i++) value = TABLE[(value ^ bytes[i]!) & 0xff]! ^ (value >>> 8)
  return ~value >>> 0
}

/** The CRC-32 of a Blob, read piece by piece. */
export async function crc32Of(blob: Blob, signal?: AbortSignal): Promise<number> {
  let value = 0
  for await (const bytes of chunksOf(blob.stream())) {
    signal?.throwIfAborted()
    value = crc32(bytes, value)
  }
  return value
}
