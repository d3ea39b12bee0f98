import { DTYPE_BYTES, type DType, decodeToFloat32, isDType } from "./dtype.ts"
import { clip, isObject, show } from "./keys.ts"
import { parseJson, type Source } from "./source.ts"

export { DTYPE_BYTES, type DType, decodeToFloat32, encodeBf16, encodeF16, isDType } from "./dtype.ts"

/** One tensor of a file. `start` and `end` are byte offsets from the beginning of the file. */
export interface TensorInfo {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly start: number
  readonly end: number
}

/** What a safetensors file says about itself. */
export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly metadata: ReadonlyMap<string, string>
  /** Where the header ends and the first tensor begins. */
  readonly dataStart: number
}

/** The safetensors crate's own limit (`MAX_HEADER_SIZE`). */
const HEADER_LIMIT = 100_000_000

/**
 * Reads and checks a header, two small reads whatever the file's size. The rules are the reference's: the tensors cover
 * the data section exactly, in some order, without holes or overlaps, and each has the bytes that its shape asks for.
 *
 * @param name what errors call the file
 * @throws SyntaxError for anything else
 */
export async function readHeader(source: Source, name: string): Promise<SafetensorsHeader> {
  if (source.byteLength < 8) {
    throw new SyntaxError(`${name}: length is ${source.byteLength} bytes, expected at least 8`)
  }
  const length = new DataView(await source.slice(0, 8)).getBigUint64(0, true)
  if (length > HEADER_LIMIT || Number(length) + 8 > source.byteLength) {
    const most = Math.min(HEADER_LIMIT, source.byteLength - 8)
    throw new SyntaxError(
      `${name}: header length is ${length} bytes, expected at most ${most} (is the file cut short?)`,
    )
  }
  const dataStart = 8 + Number(length)
  const json = headerJson(await source.slice(8, dataStart), name)
  const metadata = new Map<string, string>()
  const tensors: TensorInfo[] = []
  for (const [key, value] of Object.entries(json)) {
    if (key !== "__metadata__") tensors.push(tensorInfo(key, value, name, dataStart))
    else for (const [k, v] of metadataEntries(value, name)) metadata.set(k, v)
  }
  tensors.sort((a, b) => a.start - b.start || a.end - b.end)
  expectCovered(tensors, dataStart, source.byteLength, name)
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), metadata, dataStart }
}

/** A whole tensor as float32, from its stored F32, F16 or BF16. */
export async function readFloat32(source: Source, info: TensorInfo): Promise<Float32Array<ArrayBuffer>> {
  return decodeToFloat32(info.dtype, new Uint8Array(await source.slice(info.start, info.end)))
}

function headerJson(bytes: ArrayBuffer, name: string): Record<string, unknown> {
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new SyntaxError(`${name}: header is in another encoding, expected UTF-8`)
  }
  if (!text.startsWith("{")) throw new SyntaxError(`${name}: header starts with ${show(text[0])}, expected "{"`)
  const json = parseJson(text, name) as Record<string, unknown>
  const twice = repeatedKey(text)
  if (twice !== undefined) throw new SyntaxError(`${name}: header key ${show(twice)} is there twice, expected once`)
  return json
}

/** The first key that one object of a valid JSON text has twice; `JSON.parse` would quietly keep the last. */
function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [] // keys of each open object, undefined for an array
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/g
  for (let match = token.exec(text); match; match = token.exec(text)) {
    const first = match[0][0]
    if (first === "{" || first === "[") open.push(first === "{" ? new Set() : undefined)
    else if (first !== '"') open.pop()
    else if (match[1] !== undefined) {
      const key: string = JSON.parse(match[0].slice(0, match[0].lastIndexOf('"') + 1))
      const keys = open.at(-1)
      if (keys?.has(key)) return key
      keys?.add(key)
    }
  }
  return undefined
}

function metadataEntries(value: unknown, file: string): [string, string][] {
  if (!isObject(value)) throw new SyntaxError(`${file}: __metadata__ is ${show(value)}, expected an object`)
  return Object.entries(value).map(([key, text]) => {
    if (typeof text === "string") return [key, text]
    throw new SyntaxError(`${file}: __metadata__.${clip(key)} is ${show(text)}, expected a string`)
  })
}

function tensorInfo(name: string, value: unknown, file: string, dataStart: number): TensorInfo {
  const fail = (what: string, is: unknown, expected: string): never => {
    throw new SyntaxError(`${file}: ${clip(name)} ${what}is ${show(is)}, expected ${expected}`)
  }
  if (!isObject(value)) return fail("", value, "an object")
  const { dtype, shape, data_offsets: offsets } = value
  if (!isDType(dtype)) return fail("dtype ", dtype, `one of ${Object.keys(DTYPE_BYTES).join(", ")}`)
  if (!isSizes(shape)) return fail("shape ", shape, "non-negative integers")
  if (!isSizes(offsets) || offsets.length !== 2) return fail("data_offsets ", offsets, "[start, end]")
  const [start, end] = offsets as [number, number]
  const size = byteSize(dtype, shape)
  if (size === undefined) return fail("shape ", shape, "a size below 2^53 bytes")
  if (end - start !== size) {
    return fail("data_offsets ", offsets, `${size} bytes for ${dtype} ${show(shape)}`)
  }
  for (const key of Object.keys(value)) {
    if (key !== "dtype" && key !== "shape" && key !== "data_offsets") fail(`${key} `, value[key], "no such key")
  }
  return { name, dtype, shape, start: dataStart + start, end: dataStart + end }
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0)
}

/** Bytes of a tensor, or undefined when they pass 2^53. */
function byteSize(dtype: DType, shape: readonly number[]): number | undefined {
  let size: number = DTYPE_BYTES[dtype]
  for (const extent of shape) {
    size *= extent
    if (!Number.isSafeInteger(size)) return undefined
  }
  return size
}

function expectCovered(tensors: readonly TensorInfo[], dataStart: number, byteLength: number, file: string): void {
  let at = dataStart
  for (const { name, start, end } of tensors) {
    if (end > byteLength) {
      throw new SyntaxError(
        `${file}: ${clip(name)} ends at ${end}, expected at most ${byteLength} (is the file cut short?)`,
      )
    }
    if (start !== at) {
      const fault = start < at ? "overlaps" : "leaves a hole"
      throw new SyntaxError(`${file}: ${clip(name)} starts at ${start}, expected ${at} (it ${fault})`)
    }
    at = end
  }
  if (at !== byteLength) throw new SyntaxError(`${file}: length is ${byteLength} bytes, expected ${at} by the header`)
}

/** A tensor to write. Bytes are little-endian; a function gives them piece by piece when their turn comes. */
export interface SafetensorsEntry {
  name: string
  dtype: DType
  shape: readonly number[]
  bytes: Uint8Array | (() => AsyncIterable<Uint8Array> | Iterable<Uint8Array>)
}

/**
 * A safetensors file as a stream of chunks, tensors in the given order, so that it is never whole in memory.
 * The header is padded with spaces to 8 bytes, as the reference pads it.
 */
export async function* writeSafetensors(
  entries: readonly SafetensorsEntry[],
  metadata: Readonly<Record<string, string>> = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  yield headerBytes(entries, metadata)
  for (const { name, dtype, shape, bytes } of entries) {
    const expected = byteSize(dtype, shape)
    let written = 0
    for await (const chunk of bytes instanceof Uint8Array ? [bytes] : bytes()) {
      written += chunk.byteLength
      yield chunk
    }
    if (written !== expected) {
      throw new RangeError(`writeSafetensors: ${name} is ${written} bytes, expected ${expected} for ${show(shape)}`)
    }
  }
}

function headerBytes(entries: readonly SafetensorsEntry[], metadata: Readonly<Record<string, string>>): Uint8Array {
  // Joined by hand: an object would reorder numeric names and swallow __proto__.
  const parts: string[] = []
  if (Object.keys(metadata).length > 0) parts.push(`"__metadata__":${JSON.stringify(metadata)}`)
  const names = new Set(["__metadata__"])
  let at = 0
  for (const { name, dtype, shape, bytes } of entries) {
    if (names.has(name)) throw new RangeError(`writeSafetensors: ${name} is there twice or reserved, expected once`)
    names.add(name)
    if (!isDType(dtype)) throw new TypeError(`writeSafetensors: ${name} is ${show(dtype)}, expected a known dtype`)
    const size = isSizes(shape) ? byteSize(dtype, shape) : undefined
    if (size === undefined || (bytes instanceof Uint8Array && bytes.byteLength !== size)) {
      const is = bytes instanceof Uint8Array ? `${bytes.byteLength} bytes` : show(shape)
      throw new RangeError(
        `writeSafetensors: ${name} is ${is}, expected ${size ?? "a size"} for ${dtype} ${show(shape)}`,
      )
    }
    const info = { dtype, shape, data_offsets: [at, at + size] }
    parts.push(`${JSON.stringify(name)}:${JSON.stringify(info)}`)
    at += size
  }
  const json = new TextEncoder().encode(`{${parts.join(",")}}`)
  const header = new Uint8Array(8 + Math.ceil(json.byteLength / 8) * 8).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(header.byteLength - 8), true)
  header.set(json, 8)
  return header
}
