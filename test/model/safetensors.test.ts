import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  DTYPE_BYTES,
  type DType,
  decodeToFloat32,
  encodeBf16,
  encodeF16,
  readFloat32,
  readHeader,
  writeSafetensors,
} from "../../src/model/safetensors.ts"
import { memorySource } from "../../src/model/source.ts"
import { fileSource, writeFileAtomic } from "../../src/platform/node_files.ts"
import { collect, rawSafetensors, readGolden, safetensors, seededRandom } from "./fixture_folders.ts"

const read = (bytes: Uint8Array) => readHeader(memorySource(bytes), "x.safetensors")
const tensor = (shape: unknown, offsets: unknown, dtype: unknown = "F32") => ({ dtype, shape, data_offsets: offsets })
const file = (header: unknown, bytes = 0) => rawSafetensors(JSON.stringify(header), new Uint8Array(bytes))

describe("readHeader", () => {
  test("gives each tensor's dtype, shape and absolute offsets", async () => {
    const bytes = readGolden("tiny-gemma1").get("model.safetensors")!
    const { tensors, metadata, dataStart } = await read(bytes)
    expect(dataStart).toBe(2992 + 8)
    expect(metadata).toEqual(new Map([["format", "pt"]]))
    expect(tensors.size).toBe(29)
    expect(tensors.get("model.embed_tokens.weight")).toMatchObject({ dtype: "F32", shape: [320, 64] })
    expect(Math.max(...[...tensors.values()].map(({ end }) => end))).toBe(bytes.byteLength)
  })

  test("accepts every dtype, scalars, empty tensors and an empty file", async () => {
    for (const dtype of Object.keys(DTYPE_BYTES) as DType[]) {
      const size = DTYPE_BYTES[dtype]
      expect((await read(file({ a: tensor([], [0, size], dtype) }, size))).tensors.get("a")!.shape).toEqual([])
    }
    expect((await read(file({ a: tensor([3, 0], [0, 0]), b: tensor([1], [0, 4]) }, 4))).tensors.size).toBe(2)
    expect((await read(file({}))).tensors.size).toBe(0)
  })

  test("keeps names such as __proto__ and toString harmless", async () => {
    const header = `{"__proto__":${JSON.stringify(tensor([1], [0, 4]))},"toString":${JSON.stringify(tensor([1], [4, 8]))}}`
    const { tensors } = await read(rawSafetensors(header, new Uint8Array(8)))
    expect([...tensors.keys()]).toEqual(["__proto__", "toString"])
  })

  const one = tensor([1], [0, 4])
  test.each<[string, Uint8Array, string]>([
    ["a file of 5 bytes", new Uint8Array(5), "length is 5 bytes, expected at least 8"],
    ["a header past the end", rawSafetensors("{}", undefined, 3n), "header length is 3 bytes, expected at most 2"],
    [
      "a header of 2^64-1 bytes",
      rawSafetensors("{}", undefined, 2n ** 64n - 1n),
      "header length is 18446744073709551615",
    ],
    ["a header that is not UTF-8", rawSafetensors(Uint8Array.of(0x7b, 0xff, 0x7d)), "expected UTF-8"],
    ["a header that is no object", rawSafetensors("[]"), 'header starts with "[", expected "{"'],
    ["an empty header", rawSafetensors(""), 'header starts with missing, expected "{"'],
    ["a leading space", rawSafetensors(" {}"), 'expected "{"'],
    ["malformed JSON", rawSafetensors('{"a":'), "text is malformed, expected JSON"],
    ["a repeated tensor", rawSafetensors('{"a":1,"\\u0061":2}'), 'header key "a" is there twice, expected once'],
    ["a repeated key", rawSafetensors('{"a":{"dtype":"F32","dtype":"F16"}}'), 'header key "dtype" is there twice'],
    ["metadata that is no object", file({ __metadata__: 3 }), "__metadata__ is 3, expected an object"],
    ["metadata that is no string", file({ __metadata__: { a: 1 } }), "__metadata__.a is 1, expected a string"],
    ["an entry that is null", file({ a: null }), "a is null, expected an object"],
    ["an unknown dtype", file({ a: tensor([1], [0, 4], "F33") }, 4), 'a dtype is "F33", expected one of F64'],
    ["a dtype named constructor", file({ a: tensor([1], [0, 4], "constructor") }, 4), 'a dtype is "constructor"'],
    ["a negative extent", file({ a: tensor([-1], [0, 4]) }, 4), "a shape is [-1], expected non-negative integers"],
    ["a fractional extent", file({ a: tensor([0.5], [0, 2]) }, 2), "a shape is [0.5], expected"],
    ["an extent past 2^53", file({ a: tensor([2 ** 53], [0, 4]) }, 4), "expected non-negative integers"],
    ["an overflowing shape", file({ a: tensor([2 ** 30, 2 ** 30], [0, 4]) }, 4), "expected a size below 2^53 bytes"],
    ["an overflow before a 0", file({ a: tensor([2 ** 40, 2 ** 40, 0], [0, 0]) }), "expected a size below 2^53 bytes"],
    ["three offsets", file({ a: tensor([1], [0, 4, 8]) }, 8), "a data_offsets is [0,4,8], expected [start, end]"],
    ["no offsets", file({ a: { dtype: "F32", shape: [1] } }, 4), "a data_offsets is missing, expected [start, end]"],
    ["reversed offsets", file({ a: tensor([1], [4, 0]) }, 4), "a data_offsets is [4,0], expected 4 bytes for F32 [1]"],
    ["a size that the shape denies", file({ a: tensor([2], [0, 4]) }, 4), "expected 8 bytes for F32 [2]"],
    ["an unknown key", file({ a: { ...one, stride: [1] } }, 4), "a stride is [1], expected no such key"],
    ["data past the end", file({ a: tensor([2], [0, 8]) }, 4), "(is the file cut short?)"],
    ["an overlap", file({ a: one, b: tensor([1], [2, 6]) }, 6), "(it overlaps)"],
    ["the same bytes twice", file({ a: one, b: one }, 4), "(it overlaps)"],
    ["a hole", file({ a: one, b: tensor([1], [8, 12]) }, 12), "(it leaves a hole)"],
    ["a hole at the start", file({ a: tensor([1], [4, 8]) }, 8), "(it leaves a hole)"],
    ["bytes left at the end", file({ a: one }, 5), "by the header"],
  ])("refuses %s", async (_, bytes, message) => {
    const error = await read(bytes).catch((error) => error)
    expect(error).toBeInstanceOf(SyntaxError)
    expect(error.message).toMatch(/^x\.safetensors: /)
    expect(error.message).toContain(message)
  })

  test("refuses a header over 100 MB without reading it", async () => {
    const bytes = rawSafetensors("{}", undefined, 100_000_001n)
    const huge = { ...memorySource(bytes), byteLength: 2 ** 40 }
    await expect(readHeader(huge, "x")).rejects.toThrow(
      "x: header length is 100000001 bytes, expected at most 100000000",
    )
  })

  test("keeps its errors short when a name is long", async () => {
    const error = await read(file({ ["n".repeat(1e6)]: 3 })).catch((error) => error)
    expect(error.message.length).toBeLessThan(300)
  })

  test("takes names and metadata of megabytes", async () => {
    const long = '\\"\\\\é'.repeat(1e6)
    const header = `{"__metadata__":{"note":"${long}"},"a":${JSON.stringify(one)}}`
    expect((await read(rawSafetensors(header, new Uint8Array(4)))).metadata.get("note")!.length).toBe(3e6)
  })
})

describe("writeSafetensors", () => {
  test("gives back the bytes of a published file", async () => {
    const bytes = readGolden("tiny-gemma3-bf16").get("model.safetensors")!
    const { tensors, metadata } = await read(bytes)
    const entries = [...tensors.values()].map(({ name, dtype, shape, start, end }) => {
      return { name, dtype, shape: [...shape], bytes: bytes.subarray(start, end) }
    })
    const written = await collect(writeSafetensors(entries, Object.fromEntries(metadata)))
    const again = await read(written)
    expect(again.metadata).toEqual(metadata)
    expect(again.dataStart % 8).toBe(0)
    expect([...again.tensors.keys()]).toEqual([...tensors.keys()])
    expect(Buffer.compare(written.subarray(again.dataStart), bytes.subarray((await read(bytes)).dataStart))).toBe(0)
  })

  test("keeps the given order, even of numeric and odd names", async () => {
    const names = ["b", "10", "9", "__proto__", 'quo"te', "é"]
    const entries = names.map((name, i) => ({ name, dtype: "U8" as const, shape: [1], bytes: Uint8Array.of(i) }))
    const bytes = await safetensors(entries)
    const { tensors } = await read(bytes)
    expect([...tensors.keys()]).toEqual(names)
    expect([...tensors.values()].map(({ start }) => bytes[start])).toEqual([0, 1, 2, 3, 4, 5])
  })

  test("asks for a tensor's bytes only when their turn comes", async () => {
    const asked: string[] = []
    const entry = (name: string) => ({
      name,
      dtype: "U8" as const,
      shape: [4],
      *pieces() {
        asked.push(name)
        yield Uint8Array.of(1, 2)
        yield Uint8Array.of(3, 4)
      },
    })
    const entries = ["a", "b"].map(entry).map(({ pieces, ...rest }) => ({ ...rest, bytes: pieces }))
    const chunks = writeSafetensors(entries)
    await chunks.next()
    expect(asked).toEqual([])
    await chunks.next()
    expect(asked).toEqual(["a"])
    expect((await collect(chunks)).byteLength).toBe(6)
    expect(asked).toEqual(["a", "b"])
  })

  test.each([
    ["a name twice", [u8("a", [1], 1), u8("a", [1], 1)], RangeError, "a is there twice or reserved"],
    ["the reserved name", [u8("__metadata__", [1], 1)], RangeError, "__metadata__ is there twice or reserved"],
    ["too few bytes", [u8("a", [3], 2)], RangeError, "a is 2 bytes, expected 3 for U8 [3]"],
    ["a broken shape", [u8("a", [-1], 1)], RangeError, "expected a size for U8 [-1]"],
    ["an unknown dtype", [{ ...u8("a", [1], 1), dtype: "Q4" as "U8" }], TypeError, 'a is "Q4", expected a known dtype'],
    [
      "a stream of another length",
      [{ ...u8("a", [3], 0), bytes: () => [new Uint8Array(2)] }],
      RangeError,
      "a is 2 bytes",
    ],
  ])("refuses %s", async (_, entries, type, message) => {
    const error = await safetensors(entries).catch((error) => error)
    expect(error).toBeInstanceOf(type)
    expect(error.message).toContain(message)
  })
})

function u8(name: string, shape: number[], bytes: number) {
  return { name, dtype: "U8" as const, shape, bytes: new Uint8Array(bytes) }
}

describe("writeFileAtomic", () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "gemlet-"))
  })
  afterAll(() => rm(directory, { recursive: true }))

  test("writes a file that reads back", async () => {
    const path = join(directory, "model.safetensors")
    const bytes = new Uint8Array(Float32Array.of(1, -2, 3.5).buffer)
    await writeFileAtomic(path, writeSafetensors([{ name: "a", dtype: "F32", shape: [3], bytes }]))
    const source = await fileSource(path)
    const { tensors } = await readHeader(source, path)
    expect([...(await readFloat32(source, tensors.get("a")!))]).toEqual([1, -2, 3.5])
    await source.close()
    expect(await readdir(directory)).toEqual(["model.safetensors"])
  })

  test("leaves the old file and no other when writing fails", async () => {
    const path = join(directory, "kept")
    await writeFile(path, "old")
    async function* failing() {
      yield Uint8Array.of(1)
      throw new RangeError("stop")
    }
    await expect(writeFileAtomic(path, failing())).rejects.toThrow("stop")
    expect(await readFile(path, "utf8")).toBe("old")
    expect((await readdir(directory)).sort()).toEqual(["kept", "model.safetensors"])
  })
})

/** Any 16-bit float from its fields, by the definition of the formats. */
function half(bits: number, exponentBits: number): number {
  const fractionBits = 15 - exponentBits
  const bias = 2 ** (exponentBits - 1) - 1
  const exponent = (bits >> fractionBits) & (2 ** exponentBits - 1)
  const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits
  const sign = bits & 0x8000 ? -1 : 1
  if (exponent === 2 ** exponentBits - 1) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias)
}

const every16 = Uint16Array.from({ length: 65536 }, (_, i) => i)

describe.each([
  ["F16", 5, encodeF16],
  ["BF16", 8, encodeBf16],
] as const)("decodeToFloat32 and encode of %s", (dtype, exponentBits, encode) => {
  const decoded = decodeToFloat32(dtype, new Uint8Array(every16.buffer))

  test("decodes all 65536 values exactly", () => {
    for (let bits = 0; bits < 65536; bits++) {
      if (!Object.is(decoded[bits], half(bits, exponentBits))) throw new Error(`${bits}: ${decoded[bits]}`)
    }
  })

  test("encodes each value back to its own bits", () => {
    const encoded = encode(decoded)
    for (let bits = 0; bits < 65536; bits++) {
      if (Number.isNaN(decoded[bits])) expect(half(encoded[bits]!, exponentBits)).toBeNaN()
      else if (encoded[bits] !== bits) throw new Error(`${bits} became ${encoded[bits]}`)
    }
  })

  test("rounds to the nearest, halves to even", () => {
    const infinity = every16.findIndex((bits) => half(bits, exponentBits) === Number.POSITIVE_INFINITY)
    const random = seededRandom(3)
    for (let i = 0; i < 20_000; i++) {
      const bits = Math.floor(random() * (infinity - 1))
      const low = half(bits, exponentBits)
      const high = half(bits + 1, exponentBits)
      const even = bits % 2 === 0 ? bits : bits + 1
      const middle = (low + high) / 2
      if (Math.fround(middle) !== middle) continue
      expect(encode(Float32Array.of(middle))[0]).toBe(even)
      expect(encode(Float32Array.of(-middle))[0]).toBe(even | 0x8000)
      const between = Float32Array.of(low + (high - low) * random())
      const nearest = between[0]! - low < high - between[0]! ? bits : bits + 1
      if (between[0] !== middle) expect(encode(between)[0]).toBe(nearest)
    }
    expect(encode(Float32Array.of(half(infinity - 1, exponentBits) * 1.5, 3.4e38))[1]).toBe(infinity)
  })
})

describe("decodeToFloat32", () => {
  test("reads bytes at any alignment", () => {
    const bytes = new Uint8Array([0, ...new Uint8Array(Float32Array.of(1.5, -3).buffer)])
    expect([...decodeToFloat32("F32", bytes.subarray(1))]).toEqual([1.5, -3])
  })

  test("refuses other dtypes and torn elements", () => {
    expect(() => decodeToFloat32("I8", new Uint8Array(4))).toThrow(TypeError)
    expect(() => decodeToFloat32("F16", new Uint8Array(3))).toThrow(RangeError)
  })
})
