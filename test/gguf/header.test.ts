import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gguf } from "@huggingface/gguf"
import { describe, expect, test } from "vitest"
import { readGgufHeader } from "../../src/model/gguf/header.ts"
import { memorySource, type Source } from "../../src/model/source.ts"
import { ggufMetadata, ggufTensors } from "../helpers/gguf_conversion.ts"
import { type Entry, type WriterTensor, writeGguf } from "../helpers/gguf_writer.ts"
import { readFolder } from "../model/fixture_folders.ts"

const FILES = readFolder("test/fixtures/stories260K")
const floats = (name: string, count = 8, more: Partial<WriterTensor> = {}): WriterTensor => {
  return { name, type: "F32", shape: [count], bytes: new Uint8Array(4 * count), ...more }
}

const read = (bytes: Uint8Array) => readGgufHeader(memorySource(bytes), "x.gguf")

async function errorOf(bytes: Uint8Array): Promise<Error> {
  return await read(bytes).then(
    () => expect.unreachable("expected an error"),
    (error: Error) => error,
  )
}

const ENTRIES: Entry[] = [
  ["a.u8", "u8", 200],
  ["a.i8", "i8", -3],
  ["a.u16", "u16", 60000],
  ["a.i16", "i16", -300],
  ["a.u32", "u32", 4e9],
  ["a.i32", "i32", -7],
  ["a.u64", "u64", 2 ** 40],
  ["a.i64", "i64", -(2 ** 40)],
  ["a.f32", "f32", 0.25],
  ["a.f64", "f64", Math.PI],
  ["a.yes", "bool", true],
  ["a.no", "bool", false],
  ["a.text", "string", "größer\u0000 🦙"],
  ["a.texts", "string", ["", "\ufeffmark", "▁a"]],
  ["a.numbers", "i32", [3, -1, 2]],
  ["a.flags", "bool", [true, false]],
  ["a.long", "u64", [1, 2 ** 33]],
  ["a.none", "string", []],
]

describe("readGgufHeader", () => {
  test("gives values of every kind, the byte order mark of a token too", async () => {
    const { metadata } = await read(writeGguf(ENTRIES, []))
    const plain = (value: unknown) => (ArrayBuffer.isView(value) ? Array.from(value as Uint8Array, Number) : value)
    for (const [key, kind, value] of ENTRIES) {
      const expected = kind === "bool" && Array.isArray(value) ? value.map(Number) : value
      expect(plain(metadata.get(key)), key).toEqual(expected)
    }
    expect(metadata.size).toBe(ENTRIES.length)
  })

  test("finds what @huggingface/gguf finds", async () => {
    const folder = await mkdtemp(join(tmpdir(), "gemlet-gguf-"))
    try {
      const bytes = writeGguf([...ggufMetadata(FILES), ["x.list", "f32", [1, 2.5]]], ggufTensors(FILES, "Q4_0"))
      await writeFile(join(folder, "x.gguf"), bytes)
      const other = await gguf(join(folder, "x.gguf"), { allowLocalFile: true })
      const { metadata, tensors } = await read(bytes)
      const own = { ...other.metadata } as Record<string, unknown>
      for (const key of ["version", "tensor_count", "kv_count"]) delete own[key]
      const plain = [...metadata].map(([key, value]) => [key, ArrayBuffer.isView(value) ? [...value] : value])
      expect(Object.fromEntries(plain)).toEqual(own)
      expect(other.tensorInfos.length).toBe(tensors.size)
      for (const { name, shape, offset, dtype } of other.tensorInfos) {
        const found = tensors.get(name)!
        expect(found.shape).toEqual(shape.map(Number).reverse())
        expect(found.start).toBe(Number(offset + other.tensorDataOffset))
        expect(found.type).toBe({ 0: "F32", 2: "Q4_0" }[dtype as number])
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  test("reads a header that is longer than its first bytes, and no more than twice its length", async () => {
    const tokens = Array.from({ length: 150_000 }, (_, i) => `token ${i}`)
    const header = writeGguf([["a.tokens", "string", tokens]], [floats("t", 2 ** 21)])
    const source = memorySource(header)
    let sent = 0
    const counted: Source = {
      byteLength: source.byteLength,
      slice: (start, end) => {
        sent += end - start
        return source.slice(start, end)
      },
    }
    const { metadata, tensors } = await readGgufHeader(counted, "x.gguf")
    expect(metadata.get("a.tokens")).toEqual(tokens)
    expect(sent).toBeLessThanOrEqual(2 * tensors.get("t")!.start)
  })

  test.each([32, 64, 8])("honours an alignment of %i", async (alignment) => {
    const tensors = [floats("a", 3), floats("b", 5)]
    const bytes = writeGguf([["general.alignment", "u32", alignment]], tensors, { alignment })
    const found = (await read(bytes)).tensors
    expect(found.get("b")!.start - found.get("a")!.start).toBe(Math.ceil(12 / alignment) * alignment)
    expect(found.get("b")!.end).toBeLessThanOrEqual(bytes.byteLength)
  })

  test("names a file that is cut short, wherever it is cut", async () => {
    const bytes = writeGguf(ENTRIES, [floats("a"), floats("b")])
    for (let length = 0; length < bytes.byteLength; length++) {
      const error = await errorOf(bytes.slice(0, length))
      expect(error).toBeInstanceOf(SyntaxError)
      expect(error.message, `${length} bytes`).toMatch(/^x\.gguf: .*expected .*\(is the file cut short\?\)$/)
    }
  })

  const valid = writeGguf([], [floats("a")])
  const patched = (at: number, value: bigint) => {
    const bytes = valid.slice()
    new DataView(bytes.buffer).setBigUint64(at, value, true)
    return bytes
  }
  test.each<[string, Uint8Array, string]>([
    ["another format", new Uint8Array(64), 'first bytes are 0x0, expected "GGUF"'],
    ["version 1", writeGguf([], [], { version: 1 }), "version is 1, expected 2 or 3"],
    ["a big-endian file", writeGguf([], [], { version: 3 << 24 }), "version is of a big-endian file, expected 2 or 3"],
    ["too many tensors", patched(8, 2n ** 60n), `tensors are ${2 ** 60}, expected at most 65536`],
    ["too many keys", patched(16, 70_000n), "metadata are 70000, expected at most 65536"],
    ["a long string", patched(24, 2n ** 63n), `a tensor's name ends at ${2 ** 63}, expected at most 67108864`],
    ["a key twice", writeGguf([ENTRIES[0]!, ENTRIES[0]!], []), "a.u8 is there twice, expected once"],
    ["a tensor twice", writeGguf([], [floats("a"), floats("a")]), "a is there twice, expected once"],
    ["no dimensions", writeGguf([], [floats("a", 8, { shape: [] })]), "a has 0 dimensions, expected 1 to 4"],
    [
      "an extent of 0",
      writeGguf([], [floats("a", 8, { shape: [0] })]),
      "a is [0], expected a size from 1 to 2^53 bytes",
    ],
    [
      "rows that no block fits",
      writeGguf([], [floats("a", 8, { type: "Q8_0", shape: [2, 48] })]),
      "a is [2,48], expected a size from 1 to 2^53 bytes, rows of Q8_0 being multiples of 32",
    ],
    ["an odd offset", writeGguf([], [floats("a", 8, { offset: 4 })]), "a begins at 4, expected a multiple of 32"],
    [
      "an overlap",
      writeGguf([], [floats("a", 16), floats("b", 16, { offset: 32 })]),
      "b starts at 128, expected 160 (it overlaps a)",
    ],
    [
      "an alignment of 4",
      writeGguf([["general.alignment", "u32", 4]], []),
      "general.alignment is 4, expected a multiple of 8",
    ],
  ])("refuses %s", async (_, bytes, message) => {
    const error = await errorOf(bytes)
    expect(error).toBeInstanceOf(SyntaxError)
    expect(error.message).toBe(`x.gguf: ${message}`)
  })

  test.each([
    [12, "Q4_K"],
    [14, "Q6_K"],
    [3, "Q4_1"],
    [39, "MXFP4"],
    [4, "of type 4"],
    [999, "of type 999"],
  ])("refuses tensors of type %i by name", async (type, name) => {
    const error = await errorOf(writeGguf([], [floats("blk.0.ffn_up.weight", 256, { type })]))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe(`x.gguf: blk.0.ffn_up.weight is ${name}, expected F32, F16, BF16, Q8_0 or Q4_0`)
  })

  test("refuses text in another encoding, arrays of arrays and kinds of values that there are none of", async () => {
    const bytes = writeGguf([["a.text", "string", "ab"]], [])
    const at = 24 + 8 + 6 // the kind's code
    const view = new DataView(bytes.buffer)
    bytes[at + 12] = 0xff
    expect((await errorOf(bytes)).message).toBe("x.gguf: a.text is in another encoding, expected UTF-8")
    const expected = "expected a number, a string, a flag or a list of them"
    view.setUint32(at, 13, true)
    expect((await errorOf(bytes)).message).toBe(`x.gguf: a.text is of type 13, ${expected}`)
    view.setUint32(at, 9, true)
    view.setUint32(at + 4, 9, true)
    const nested = new Uint8Array([...bytes, ...new Uint8Array(64)])
    expect((await errorOf(nested)).message).toBe(`x.gguf: a.text is an array of arrays, ${expected}`)
  })
})
