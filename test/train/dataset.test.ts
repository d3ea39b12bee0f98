import { gzipSync } from "node:zlib"
import { expect, test } from "vitest"
import { blobSource, memorySource, type Source } from "../../src/model/source.ts"
import { type DatasetOptions, isDataFile, openDataset } from "../../src/train/dataset.ts"
import type { Dataset } from "../../src/train/records.ts"

const bytesOf = (text: string) => new TextEncoder().encode(text)
const open = (files: Record<string, string | Uint8Array>, options?: DatasetOptions) => {
  const entries = Object.entries(files)
  return openDataset(
    entries.map(([name, data]) => ({ name, source: memorySource(typeof data === "string" ? bytesOf(data) : data) })),
    options,
  )
}
const readAll = (dataset: Dataset) => Promise.all(Array.from({ length: dataset.count }, (_, i) => dataset.read(i)))

test("openDataset reads lines with a byte order mark, Windows' line ends, empty lines and no newline at the end", async () => {
  const dataset = await open({ "a.jsonl": '\ufeff{"text":"ä\\r\\n"}\r\n\r\n  \n{"text":"b\u2028"}\n\n{"text":"c"}' })
  expect(await readAll(dataset)).toEqual([{ text: "ä\r\n" }, { text: "b\u2028" }, { text: "c" }])
  expect([0, 1, 2].map(dataset.where)).toEqual(["a.jsonl:1", "a.jsonl:4", "a.jsonl:6"])
  expect(dataset.name).toBe("a.jsonl")
})

test("openDataset joins files in order, texts and gzip among them", async () => {
  const dataset = await open({
    "a.jsonl": '{"text":"1"}\n{"text":"2"}\n',
    "b.txt": "\ufeff3\r\n4\n",
    "C.JSONL.GZ": gzipSync('{"text":"5"}\n{"prompt":"6","completion":"7"}'),
    "d.md": "# 8",
    "e.txt.gz": gzipSync("9"),
  })
  expect(await readAll(dataset)).toEqual([
    { text: "1" },
    { text: "2" },
    { text: "3\n4\n" },
    { text: "5" },
    { prompt: "6", completion: "7" },
    { text: "# 8" },
    { text: "9" },
  ])
  const places = ["a.jsonl:1", "a.jsonl:2", "b.txt", "C.JSONL.GZ:1", "C.JSONL.GZ:2", "d.md", "e.txt.gz"]
  expect(places.map((_, i) => dataset.where(i))).toEqual(places)
})

test("openDataset passes over empty files of lines, and finds records behind them", async () => {
  const dataset = await open({ "a.jsonl": "", "b.jsonl": "\n", "c.jsonl": '{"text":"c"}', "d.jsonl": "" })
  expect(await readAll(dataset)).toEqual([{ text: "c" }])
  expect(dataset.where(0)).toBe("c.jsonl:1")
})

test("openDataset finds lines that cross its pieces, also within a character", async () => {
  const texts = [3, 2 ** 20 - 17, 5, 3 * 2 ** 20 + 1, 2 ** 19, 1].map((length, i) => `${i}${"ä".repeat(length / 2)}`)
  const dataset = await open({ "a.jsonl": texts.map((text) => `${JSON.stringify({ text })}\n`).join("") })
  expect(await readAll(dataset)).toEqual(texts.map((text) => ({ text })))
  for (const i of [4, 1, 5, 0]) expect(await dataset.read(i)).toEqual({ text: texts[i] })
})

test.each<[string, string | Uint8Array, string, ErrorConstructor]>([
  ["no JSON", '{"text":"a"}\n\n{"text":\n', "a.jsonl:3: text is malformed, expected JSON", SyntaxError],
  ["an array", "[1]", "a.jsonl:1: record is [1], expected an object", TypeError],
  ["no form", '{"a":1}', 'a.jsonl:1: record has "a", expected "text"', TypeError],
  ["no UTF-8", Uint8Array.of(0x22, 0xff, 0x22), "a.jsonl:1: text is in another encoding, expected UTF-8", SyntaxError],
  ["nothing", "\n\n", "a.jsonl: number of usable records is 0, expected at least 1", RangeError],
])("openDataset refuses %s by file and line", async (_, data, message, kind) => {
  const error = await open({ "a.jsonl": data }).catch((error: unknown) => error)
  expect(error).toBeInstanceOf(kind)
  expect(error).toHaveProperty("message", expect.stringContaining(message))
})

test("openDataset refuses other files, and gzip that is damaged", async () => {
  await expect(open({ "a.csv": "x" })).rejects.toThrow('a.csv: ending is ".csv", expected .jsonl, .txt or .md')
  await expect(open({ data: "x" })).rejects.toThrow('data: ending is "", expected .jsonl')
  await expect(open({ "a.txt": "" })).rejects.toThrow("a.txt: file is empty, expected text")
  const whole = gzipSync('{"text":"a"}')
  for (const damaged of [bytesOf('{"text":"a"}'), whole.subarray(0, -9), new Uint8Array()]) {
    await expect(open({ "a.jsonl.gz": damaged })).rejects.toThrow("a.jsonl.gz: gzip data is damaged, expected a whole")
  }
  expect(["a.jsonl", "b.TXT.gz", "c.md"].every(isDataFile)).toBe(true)
  expect(["a.json", "jsonl", "a.gz", "a.txt.zip"].some(isDataFile)).toBe(false)
})

test("openDataset with skipBad goes on, counts, and keeps the first messages", async () => {
  const bad = ["x", "[]", '{"text":""}', "y", "z", '{"prompt":"a"}', `{"text":"${"long".repeat(20)}"}`]
  const data = ['{"text":"a"}', ...bad, '{"text":"b"}'].join("\n")
  const dataset = await open({ "a.jsonl": data, "b.txt": "long".repeat(20) }, { skipBad: true, lineLimit: 64 })
  expect(await readAll(dataset)).toEqual([{ text: "a" }, { text: "b" }])
  expect(dataset.where(1)).toBe("a.jsonl:9")
  expect(dataset.skipped.count).toBe(8)
  expect(dataset.skipped.messages.map((message) => message.split(":")[1])).toEqual(["2", "3", "4", "5", "6"])
})

test("openDataset refuses lines and texts over the limit, and keeps none of them", async () => {
  const long = `{"text":"a"}\n{"text":"${"x".repeat(3 * 2 ** 20)}"}`
  await expect(open({ "a.jsonl": long }, { lineLimit: 2 ** 20 })).rejects.toThrow(
    `a.jsonl:2: line is ${long.length - 13} bytes, expected at most ${2 ** 20}`,
  )
  await expect(open({ "a.txt": "abc" }, { lineLimit: 2 })).rejects.toThrow("a.txt: text is 3 bytes, expected at most 2")
})

test("a dataset's fingerprint follows contents and order, not names", async () => {
  const fingerprint = async (files: Record<string, string>) => (await open(files)).fingerprint
  const [a, b] = ['{"text":"a"}\n', '{"text":"b"}\n']
  const one = await fingerprint({ "a.jsonl": a, "b.jsonl": b })
  expect(await fingerprint({ "x.jsonl": a, "y.jsonl": b })).toBe(one)
  const others: Record<string, string>[] = [
    { "a.jsonl": b, "b.jsonl": a },
    { "a.jsonl": a + b },
    { "a.jsonl": a },
    { "a.jsonl": a, "b.txt": b },
  ]
  expect(new Set([one, ...(await Promise.all(others.map(fingerprint)))]).size).toBe(5)
})

/** A source that notes what is read of it. */
function watched(source: Source): Source & { reads: [number, number][] } {
  const reads: [number, number][] = []
  const slice = (start: number, end: number) => {
    reads.push([start, end])
    return source.slice(start, end)
  }
  return { byteLength: source.byteLength, slice, reads }
}

test("a dataset reads ahead in order, and out of order no more than the line", async () => {
  const lines = Array.from({ length: 5000 }, (_, i) => JSON.stringify({ text: `${i} `.repeat(100) }))
  const source = watched(blobSource(new Blob([lines.join("\r\n")])))
  const dataset = await openDataset([{ name: "a.jsonl", source }])
  expect(source.reads.length).toBe(Math.ceil(source.byteLength / 2 ** 20))

  source.reads.length = 0
  for (let i = 0; i < 5000; i++) expect(await dataset.read(i)).toEqual(JSON.parse(lines[i]!))
  expect(source.reads.length).toBeLessThan(6)

  source.reads.length = 0
  for (const i of [4000, 17, 2500]) expect(await dataset.read(i)).toEqual(JSON.parse(lines[i]!))
  expect(source.reads.reduce((sum, [start, end]) => sum + end - start, 0)).toBe(
    [4000, 17, 2500].reduce((sum, i) => sum + lines[i]!.length + 1, 0),
  )
})
