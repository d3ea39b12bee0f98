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

/**
 * Little-endian bytes as float32, exactly.
 *
 * @throws TypeError for a dtype other than F32, F16 and BF16
 */
export function decodeToFloat32(dtype: DType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
    throw new TypeError(`decodeToFloat32: dtype is ${dtype}, expected F32, F16 or BF16`)
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

function decodeF16(half: number): number {
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
