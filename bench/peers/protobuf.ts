// The wire format of protocol buffers, as far as ONNX needs it: https://protobuf.dev/programming-guides/encoding

/** A field's value: integers as varints, texts and nested messages by their bytes, lists as the field repeated. */
export type FieldValue = number | bigint | string | Float | Uint8Array | Message | readonly FieldValue[] | undefined

/** Fields by number. */
export interface Message {
  readonly [field: number]: FieldValue
}

/** A 32-bit float, which looks like an integer otherwise. */
export class Float {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

export function encodeMessage(message: Message): Uint8Array {
  const parts: Uint8Array[] = []
  for (const [field, value] of Object.entries(message)) writeField(parts, Number(field), value)
  return Buffer.concat(parts)
}

const VARINT = 0
const LENGTH = 2
const FIXED32 = 5

function writeField(parts: Uint8Array[], field: number, value: FieldValue): void {
  if (value === undefined) return
  if (Array.isArray(value)) {
    for (const each of value) writeField(parts, field, each)
    return
  }
  if (typeof value === "number" || typeof value === "bigint") {
    parts.push(varint(8 * field + VARINT), varint(value))
  } else if (value instanceof Float) {
    parts.push(varint(8 * field + FIXED32), new Uint8Array(Float32Array.of(value.value).buffer))
  } else {
    const bytes = bytesOf(value as string | Uint8Array | Message)
    parts.push(varint(8 * field + LENGTH), varint(bytes.length), bytes)
  }
}

function bytesOf(value: string | Uint8Array | Message): Uint8Array {
  if (typeof value === "string") return new TextEncoder().encode(value)
  return value instanceof Uint8Array ? value : encodeMessage(value)
}

/** Seven bits a byte, the lowest first; negative numbers as 64 bits. */
function varint(value: number | bigint): Uint8Array {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  do {
    const low = Number(rest & 127n)
    rest >>= 7n
    bytes.push(rest > 0n ? low | 128 : low)
  } while (rest > 0n)
  return Uint8Array.from(bytes)
}
