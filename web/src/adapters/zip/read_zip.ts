// What of PKWARE's APPNOTE 6.3.10 zips of small folders use: files as they are or deflated, one disk, sizes of 32 bits. The
// directory at the end is what counts, and each file is held to its size and sum there.

import { chunksOf } from "./chunks.ts"
import { crc32 } from "./crc32.ts"

/** A file in a zip, as the directory has it. */
export interface ZipEntry {
  readonly name: string
  readonly size: number
  readonly packed: number
  readonly method: number
  readonly encrypted: boolean
  readonly crc: number
  readonly offset: number
}

const END = 0x06054b50
const END_LENGTH = 22
const LISTED = 0x02014b50
const LISTED_LENGTH = 46
const LOCAL = 0x04034b50
const LOCAL_LENGTH = 30
const LONGEST_COMMENT = 0xffff
const STORED = 0
const DEFLATED = 8
/** In the place of a size or a count that does not fit: it is elsewhere then. */
const ELSEWHERE = 0xffffffff

/**
 * The files of a zip.
 *
 * @throws {SyntaxError} for what is no whole zip
 */
export async function zipEntries(zip: Blob): Promise<ZipEntry[]> {
  const { count, size, offset } = await readEnd(zip)
  const view = await viewOf(zip, offset, offset + size)
  const entries: ZipEntry[] = []
  for (let at = 0; entries.length < count; ) {
    if (at + LISTED_LENGTH > size || view.getUint32(at, true) !== LISTED) throw broken("directory ends before its time")
    const [name, extra, comment] = [28, 30, 32].map((field) => view.getUint16(at + field, true)) as [
      number,
      number,
      number,
    ]
    const next = at + LISTED_LENGTH + name + extra + comment
    if (next > size) throw broken("directory ends before its time")
    entries.push({
      name: new TextDecoder().decode(new Uint8Array(view.buffer, at + LISTED_LENGTH, name)),
      encrypted: (view.getUint16(at + 8, true) & 1) === 1,
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      offset: view.getUint32(at + 42, true),
    })
    at = next
  }
  return entries
}

/**
 * One file of a zip.
 *
 * @param limit the most bytes that it may have; more are not unpacked, whatever the directory says
 * @throws {RangeError} for one that is larger, {SyntaxError} for one that is damaged or packed in a way that is not read here
 */
export async function readEntry(zip: Blob, entry: ZipEntry, limit: number): Promise<Blob> {
  const { name, size, packed, method, encrypted, offset } = entry
  if (size > limit) throw new RangeError(`${name}: size is ${size} bytes, expected at most ${limit}`)
  if (encrypted) throw broken(`${name} is encrypted`)
  if (packed === ELSEWHERE || offset === ELSEWHERE) throw broken(`${name} is in the form for more than 4 GiB`)
  const local = await viewOf(zip, offset, offset + LOCAL_LENGTH)
  if (local.getUint32(0, true) !== LOCAL) throw broken(`${name} is not where the directory says`)
  const start = offset + LOCAL_LENGTH + local.getUint16(26, true) + local.getUint16(28, true)
  if (start + packed > zip.size) throw broken(`${name} is cut short`)
  const bytes = zip.slice(start, start + packed)
  if (method === STORED) return checked(bytes.stream(), entry)
  if (method === DEFLATED) return checked(bytes.stream().pipeThrough(new DecompressionStream("deflate-raw")), entry)
  throw broken(`${name} is packed by method ${method}`)
}

/** The bytes of a stream, as long as they are not more than they should be, and if they are the right ones. */
async function checked(stream: ReadableStream<Uint8Array<ArrayBuffer>>, { name, size, crc }: ZipEntry): Promise<Blob> {
  const parts: Uint8Array<ArrayBuffer>[] = []
  let length = 0
  let sum = 0
  try {
    for await (const part of chunksOf(stream)) {
      parts.push(part)
      length += part.length
      sum = crc32(part, sum)
      if (length > size) break
    }
  } catch (error) {
    throw new SyntaxError(`zip: ${name} is damaged, expected deflated bytes`, { cause: error })
  }
  if (length === size && sum === crc) return new Blob(parts)
  throw broken(`${name} is damaged`)
}

/** The record that ends a zip, found from behind: nothing but a comment comes after it. */
async function readEnd(zip: Blob): Promise<{ count: number; size: number; offset: number }> {
  const start = Math.max(0, zip.size - END_LENGTH - LONGEST_COMMENT)
  const view = await viewOf(zip, start, zip.size)
  for (let at = view.byteLength - END_LENGTH; at >= 0; at--) {
    if (view.getUint32(at, true) !== END || at + END_LENGTH + view.getUint16(at + 20, true) !== view.byteLength)
      continue
    const count = view.getUint16(at + 10, true)
    const size = view.getUint32(at + 12, true)
    const offset = view.getUint32(at + 16, true)
    if (view.getUint32(at + 4, true) !== 0) throw broken("is one of several disks")
    if (size === ELSEWHERE || offset === ELSEWHERE) throw broken("is in the form for more than 4 GiB")
    if (offset + size > start + at) throw broken("directory is not where its end says")
    return { count, size, offset }
  }
  throw broken("end is missing")
}

async function viewOf(blob: Blob, start: number, end: number): Promise<DataView> {
  if (end > blob.size) throw broken(`bytes end at ${blob.size}, before ${end}`)
  return new DataView(await blob.slice(start, end).arrayBuffer())
}

function broken(what: string): SyntaxError {
  return new SyntaxError(`zip: ${what}, expected a whole zip of files that are stored or deflated`)
}
