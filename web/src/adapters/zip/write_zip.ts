// A zip file as PKWARE's APPNOTE 6.3.10 describes it: files as they are, as numbers of a network hardly get smaller. The Blob
// that comes of it refers to theirs, so that nothing of a large file is held in memory.

import { crc32Of } from "./crc32.ts"

export interface ZipFile {
  readonly name: string
  readonly content: Blob
}

/** What a field of 32 bits can tell; what is above needs another form of zip. */
const LARGEST = 0xfffffffe
const VERSION = 20
/** Names are UTF-8. */
const FLAGS = 0x800
/** 1 January 1980, the first day that there is: the same files are the same zip. */
const DAY = 0x21

/**
 * Puts files into a zip, in their order.
 *
 * @throws {RangeError} above 4 GiB
 */
export async function zip(files: readonly ZipFile[], signal?: AbortSignal): Promise<Blob> {
  const parts: BlobPart[] = []
  const directory: BlobPart[] = []
  let offset = 0
  for (const { name, content } of files) {
    const path = new TextEncoder().encode(name)
    const facts = [VERSION, FLAGS, 0, 0, DAY].flatMap(u16)
    facts.push(...u32(await crc32Of(content, signal)), ...u32(content.size), ...u32(content.size))
    facts.push(...u16(path.length), ...u16(0))
    const header = bytes(u32(0x04034b50), facts)
    parts.push(header, path, content)
    directory.push(bytes(u32(0x02014b50), u16(VERSION), facts, new Array(10).fill(0), u32(offset)), path)
    offset += header.length + path.length + content.size
  }
  const listed = new Blob(directory)
  if (offset + listed.size > LARGEST) {
    throw new RangeError(`zip: size is ${offset + listed.size} bytes, expected at most ${LARGEST}`)
  }
  const count = u16(files.length)
  const end = bytes(u32(0x06054b50), u32(0), count, count, u32(listed.size), u32(offset), u16(0))
  return new Blob([...parts, listed, end], { type: "application/zip" })
}

function u16(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff]
}

function u32(value: number): number[] {
  return [...u16(value), ...u16(value >>> 16)]
}

function bytes(...fields: number[][]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(fields.flat())
}
