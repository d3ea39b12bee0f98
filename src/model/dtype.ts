/** Bytes per element of every safetensors type read and written here. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const

/** An element type, as safetensors spells it. */
export type DType = keyof typeof DTYPE_BYTES

export function isDType(value: unknown): value is DType {
  return typeof value === "string" && Object.hasOwn(DTYPE_BYTES, value)
}

/** Elements of a block. */
export const BLOCK = 32
/** What a zero of q4 is counted in: 16 to a code. */
export const SIXTEENTHS = 16

/**
 * Bytes of a block of elements that share a scale. In ggml's types it is d, a float16 in front (`ggml-common.h`):
 *
 * - Q4_0: 16 bytes; the low half of byte i is q of element i, the high half that of element i + 16; a value is (q - 8) d.
 * - Q8_0: 32 signed bytes; a value is q d.
 *
 * In those that safetensors files have in several tensors (src/model/quantized.ts) it is a float32 behind the codes:
 *
 * - q4: 16 bytes; the low half of byte i is the code of element 2 i, the high half that of element 2 i + 1; the scale, without
 *   its last eight bits; a byte that is the zero in sixteenths. A value is scale * (code - zero).
 * - q8: 32 signed bytes; the scale. A value is scale * code.
 */
export const BLOCK_BYTES = { Q4_0: 18, Q8_0: 34, q4: 21, q8: 36 } as const

/** A type in blocks: ggml's in capitals. */
export type BlockType = keyof typeof BLOCK_BYTES

export function isBlockType(value: unknown): value is BlockType {
  return typeof value === "string" && Object.hasOwn(BLOCK_BYTES, value)
}

/**
 * Little-endian bytes as float32: exactly, as codes have 8 bits and scales 11, in q4 8 and 16; in q8 rounded as GPUs round it.
 *
 * @throws TypeError for a dtype other than F32, F16, BF16 and those of blocks
 */
export function decodeToFloat32(dtype: DType | BlockType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  if (isBlockType(dtype)) return decodeBlocks(dtype, bytes)
  if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
    throw new TypeError(`decodeToFloat32: dtype is ${dtype}, expected F32, F16, BF16, Q4_0 or Q8_0`)
  }
  const size = DTYPE_BYTES[dtype]
  if (bytes.byteLength % size !== 0) {
    throw new RangeError(`decodeToFloat32: length is ${bytes.byteLength} bytes, expected a multiple of ${size}`)
  }
  const aligned = bytes.slice().buffer
  if (dtype === "F32") return new Float32Array(aligned)
  const halves = new Uint16Array(aligned)
  const bits = new Uint32Array(halves.length)
  const values = new Float32Array(bits.buffer)
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!
    if (dtype === "BF16") bits[i] = half << 16
    else values[i] = decodeF16(half)
  }
  return values
}

function decodeBlocks(type: BlockType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const size = BLOCK_BYTES[type]
  if (bytes.byteLength % size !== 0) {
    throw new RangeError(`decodeToFloat32: length is ${bytes.byteLength} bytes, expected a multiple of ${size}`)
  }
  const values = new Float32Array((bytes.byteLength / size) * BLOCK)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0, to = 0; at < bytes.byteLength; at += size, to += BLOCK) {
    if (type === "q8") {
      const scale = view.getFloat32(at + 32, true)
      for (let i = 0; i < BLOCK; i++) values[to + i] = view.getInt8(at + i) * scale
      continue
    }
    if (type === "q4") {
      const [scale, zero] = [view.getFloat32(at + 16, true), bytes[at + 20]! / SIXTEENTHS]
      for (let i = 0; i < BLOCK; i++) values[to + i] = (((bytes[at + (i >> 1)]! >> (4 * (i & 1))) & 15) - zero) * scale
      continue
    }
    const scale = decodeF16(bytes[at]! | (bytes[at + 1]! << 8))
    if (type === "Q8_0") {
      for (let i = 0; i < BLOCK; i++) values[to + i] = ((bytes[at + 2 + i]! << 24) >> 24) * scale
      continue
    }
    for (let i = 0; i < BLOCK / 2; i++) {
      const pair = bytes[at + 2 + i]!
      values[to + i] = ((pair & 15) - 8) * scale
      values[to + BLOCK / 2 + i] = ((pair >> 4) - 8) * scale
    }
  }
  return values
}

/** The number that a float16 is. */
export function decodeF16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 31
  const fraction = half & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return sign * (1024 + fraction) * 2 ** (exponent - 25)
}

/** Rounds to bfloat16, half to even. A NaN stays one. */
export function encodeBf16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  return Uint16Array.from(bits, (b) =>
    (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16,
  )
}

/** Rounds to IEEE float16, half to even; past 65504 it goes to infinity. A NaN stays one. */
export function encodeF16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  return Uint16Array.from(bits, (b, i) => {
    const sign = (b >>> 16) & 0x8000
    const magnitude = Math.abs(values[i]!)
    if (Number.isNaN(magnitude)) return sign | 0x7e00
    if (magnitude >= 65520) return sign | 0x7c00
    // The spacing of float16 numbers here; below the smallest normal it stops shrinking.
    const exponent = Math.max(((b >>> 23) & 255) - 127, -14)
    const steps = roundHalfEven(magnitude * 2 ** (10 - exponent))
    // A normal number's 1024 leading steps are its exponent field; rounding up to 2048 carries into it by itself.
    return sign | (steps + (exponent + 14) * 1024)
  })
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}

/** float32 values in a type that holds fewer bits, rounded to nearest, or as they are; the bytes are of their own. */
export function encodeFloat32(dtype: DType, values: Float32Array): Uint8Array<ArrayBuffer> {
  if (dtype === "F32") return new Uint8Array(Float32Array.from(values).buffer)
  return new Uint8Array((dtype === "BF16" ? encodeBf16(values) : encodeF16(values)).buffer)
}
