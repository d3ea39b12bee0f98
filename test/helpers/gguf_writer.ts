/** GGUF files as ggml's docs/gguf.md describes them; shares no code with the reader. */

export type GgufKind = "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "bool" | "string" | "u64" | "i64" | "f64"
export type WriterType = "F32" | "F16" | "BF16" | "Q4_0" | "Q8_0"

/** A key with its kind; a list of values is an array of that kind. */
export type Entry = readonly [key: string, kind: GgufKind, value: unknown]

export interface WriterTensor {
  readonly name: string
  /** A name, or ggml's code for a type that nobody here writes. */
  readonly type: WriterType | number
  /** Rows first. */
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
  /** By default where the one before ends, aligned. */
  readonly offset?: number
}

const KIND_CODES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  u64: 10,
  i64: 11,
  f64: 12,
}
const TYPE_CODES = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 8, BF16: 30 }

/** A whole file. `version` and `alignment` may be wrong on purpose. */
export function writeGguf(
  metadata: readonly Entry[],
  tensors: readonly WriterTensor[],
  { version = 3, alignment = 32 }: { version?: number; alignment?: number } = {},
): Uint8Array {
  const header: Buffer[] = [Buffer.from("GGUF"), u32(version), u64(tensors.length), u64(metadata.length)]
  for (const [key, kind, value] of metadata) {
    header.push(string(key))
    if (!Array.isArray(value)) header.push(u32(KIND_CODES[kind]), scalar(kind, value))
    else {
      const items = value.map((item) => scalar(kind, item))
      header.push(u32(9), u32(KIND_CODES[kind]), u64(value.length), Buffer.concat(items))
    }
  }
  let end = 0
  const data: Buffer[] = []
  for (const { name, type, shape, bytes, offset } of tensors) {
    const at = offset ?? end
    header.push(string(name), u32(shape.length), ...[...shape].reverse().map(u64))
    header.push(u32(typeof type === "number" ? type : TYPE_CODES[type]), u64(at))
    const padded = Buffer.alloc(Math.ceil(bytes.byteLength / alignment) * alignment)
    padded.set(bytes)
    data.push(padded)
    end += padded.byteLength
  }
  const head = Buffer.concat(header)
  const gap = Buffer.alloc((alignment - (head.byteLength % alignment)) % alignment)
  return new Uint8Array(Buffer.concat([head, gap, ...data]))
}

function scalar(kind: GgufKind, value: unknown): Buffer {
  if (kind === "string") return string(value as string)
  const view = new DataView(new ArrayBuffer(8))
  const number = Number(value)
  if (kind === "f32") view.setFloat32(0, number, true)
  else if (kind === "f64") view.setFloat64(0, number, true)
  else view.setBigInt64(0, BigInt(number), true)
  const width = kind === "bool" ? 1 : Number(kind.slice(1)) / 8
  return Buffer.from(view.buffer, 0, width)
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8")
  return Buffer.concat([u64(bytes.byteLength), bytes])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

/** Blocks of 32 as ggml's reference makes them (`quantize_row_q4_0_ref`, `quantize_row_q8_0_ref`). */
export function quantize(type: "Q4_0" | "Q8_0", values: ArrayLike<number>): Uint8Array {
  const blocks: Buffer[] = []
  for (let at = 0; at < values.length; at += 32) {
    const block = Array.from({ length: 32 }, (_, i) => values[at + i]!)
    const largest = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0)
    const half = encodeHalf(type === "Q4_0" ? largest / -8 : Math.abs(largest) / 127)
    const scale = decodeHalf(half)
    const code = (value: number) => (scale === 0 ? 0 : Math.round(value / scale))
    const bytes = Buffer.alloc(type === "Q4_0" ? 18 : 34)
    bytes.writeUInt16LE(half)
    if (type === "Q8_0") for (const [i, value] of block.entries()) bytes.writeInt8(clamp(code(value), -127, 127), 2 + i)
    else for (let i = 0; i < 16; i++) bytes[2 + i] = nibble(code(block[i]!)) | (nibble(code(block[i + 16]!)) << 4)
    blocks.push(bytes)
  }
  return new Uint8Array(Buffer.concat(blocks))
}

/** What blocks stand for. */
export function dequantize(type: "Q4_0" | "Q8_0", blocks: Uint8Array): Float32Array {
  const width = type === "Q4_0" ? 18 : 34
  const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.byteLength)
  return Float32Array.from({ length: (blocks.byteLength / width) * 32 }, (_, i) => {
    const at = Math.floor(i / 32) * width
    const j = i % 32
    const scale = decodeHalf(view.getUint16(at, true))
    if (type === "Q8_0") return view.getInt8(at + 2 + j) * scale
    const pair = view.getUint8(at + 2 + (j % 16))
    return ((j < 16 ? pair % 16 : Math.floor(pair / 16)) - 8) * scale
  })
}

const clamp = (value: number, least: number, most: number) => Math.min(most, Math.max(least, value))
const nibble = (code: number) => clamp(code + 8, 0, 15)

/** For numbers of float16's normal range and 0. */
function encodeHalf(value: number): number {
  if (value === 0) return 0
  const exponent = Math.floor(Math.log2(Math.abs(value)))
  const fraction = Math.round((Math.abs(value) / 2 ** exponent - 1) * 1024)
  return (value < 0 ? 0x8000 : 0) + (exponent + 15) * 1024 + fraction
}

export function decodeHalf(half: number): number {
  const exponent = Math.floor(half / 1024) % 32
  const magnitude = exponent === 0 ? (half % 1024) * 2 ** -24 : (1 + (half % 1024) / 1024) * 2 ** (exponent - 15)
  return half >= 0x8000 ? -magnitude : magnitude
}
