import { clip } from "../keys.ts"

/** A header never is so long: that of Gemma 3, whose vocabulary is the largest here, takes 7 MB. */
export const HEADER_LIMIT = 64 * 2 ** 20

/** Thrown where the bytes at hand end before the header does. */
export class MoreBytes extends Error {}

/** The value types that are numbers, by their code in the file: bytes of one, and an array of them. */
const NUMBERS: Readonly<Record<number, { width: number; of: (bytes: ArrayBuffer) => NumberArray }>> = {
  0: { width: 1, of: (bytes) => new Uint8Array(bytes) },
  1: { width: 1, of: (bytes) => new Int8Array(bytes) },
  2: { width: 2, of: (bytes) => new Uint16Array(bytes) },
  3: { width: 2, of: (bytes) => new Int16Array(bytes) },
  4: { width: 4, of: (bytes) => new Uint32Array(bytes) },
  5: { width: 4, of: (bytes) => new Int32Array(bytes) },
  6: { width: 4, of: (bytes) => new Float32Array(bytes) },
  7: { width: 1, of: (bytes) => new Uint8Array(bytes) },
  10: { width: 8, of: (bytes) => Float64Array.from(new BigUint64Array(bytes), Number) },
  11: { width: 8, of: (bytes) => Float64Array.from(new BigInt64Array(bytes), Number) },
  12: { width: 8, of: (bytes) => new Float64Array(bytes) },
}
const [BOOL, STRING, ARRAY] = [7, 8, 9]

/** Numbers of an array; truth values are 0 and 1. Integers beyond 2^53 are rounded. */
export type NumberArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array

/** A value of the metadata. */
export type GgufValue = string | number | boolean | readonly string[] | NumberArray

/** Reads the values of a GGUF header one after another (ggml's docs/gguf.md; little-endian). */
export class ByteReader {
  readonly #bytes: Uint8Array<ArrayBuffer>
  readonly #view: DataView
  readonly #file: string
  readonly #text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  at = 0

  constructor(bytes: Uint8Array<ArrayBuffer>, file: string) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#file = file
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  /** Rounded beyond 2^53. */
  u64(): number {
    return Number(this.#view.getBigUint64(this.#take(8), true))
  }

  /** @param what names it in errors */
  string(what: string): string {
    const length = this.u64()
    const at = this.#take(length, what)
    try {
      return this.#text.decode(this.#bytes.subarray(at, at + length))
    } catch {
      throw new SyntaxError(`${this.#file}: ${clip(what)} is in another encoding, expected UTF-8`)
    }
  }

  value(key: string): GgufValue {
    const type = this.u32()
    if (type === STRING) return this.string(key)
    if (type === ARRAY) return this.#array(key)
    const value = this.#numbers(key, type, 1)[0]!
    return type === BOOL ? value !== 0 : value
  }

  #array(key: string): GgufValue {
    const type = this.u32()
    const length = this.u64()
    if (type !== STRING) return this.#numbers(key, type, length)
    const strings: string[] = []
    for (let i = 0; i < length; i++) strings.push(this.string(key))
    return strings
  }

  #numbers(key: string, type: number, length: number): NumberArray {
    const numbers = NUMBERS[type]
    if (!numbers) {
      const is = type === ARRAY ? "an array of arrays" : `of type ${type}`
      throw new SyntaxError(
        `${this.#file}: ${clip(key)} is ${is}, expected a number, a string, a flag or a list of them`,
      )
    }
    const bytes = length * numbers.width
    const at = this.#take(bytes, key)
    return numbers.of(this.#bytes.slice(at, at + bytes).buffer)
  }

  #take(bytes: number, what = "a value"): number {
    const { at } = this
    if (at + bytes > HEADER_LIMIT) {
      throw new SyntaxError(`${this.#file}: ${clip(what)} ends at ${at + bytes}, expected at most ${HEADER_LIMIT}`)
    }
    if (at + bytes > this.#bytes.byteLength) throw new MoreBytes()
    this.at += bytes
    return at
  }
}
