import { gzipSync } from "node:zlib"
import { describe, expect, test } from "vitest"
import { DATA_NAMES, evalData, memoryData } from "../../src/eval/data.ts"
import { memorySource } from "../../src/model/source.ts"
import { packageData } from "./package_data.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

function files(contents: Readonly<Record<string, Uint8Array>>) {
  const opened: string[] = []
  const data = evalData(async (file) => {
    opened.push(file)
    return contents[file] && memorySource(contents[file], file)
  })
  return { data, opened }
}

describe("evalData", () => {
  test("reads lines of JSON, packed or not, once, and tells one content from another", async () => {
    const lines = '{"text":"one"}\n\n{"text":"zwei – ü"}\n'
    const { data, opened } = files({ "texts.jsonl.gz": gzipSync(lines), "books.jsonl": bytes(lines) })
    expect(await data.read("texts")).toEqual([{ text: "one" }, { text: "zwei – ü" }])
    expect(await data.read("texts")).toBe(await data.read("texts"))
    expect(await data.read("books")).toEqual(await data.read("texts"))
    expect(await data.fingerprint("books")).toBe(await data.fingerprint("texts"))
    expect(opened).toEqual(["texts.jsonl", "texts.jsonl.gz", "books.jsonl"])
    const other = files({ "texts.jsonl": bytes(lines.replace("one", "two")) })
    expect(await other.data.fingerprint("texts")).not.toBe(await data.fingerprint("texts"))
  })

  test("names the file and line of what cannot be read, and the names that there are", async () => {
    const { data } = files({
      "texts.jsonl": bytes('{"text":"one"}\n{"text":\n'),
      "books.jsonl": bytes("\n"),
      "blimp.jsonl.gz": gzipSync("{}").subarray(0, 12),
      "ruler.jsonl": Uint8Array.of(0xff, 10),
    })
    await expect(data.read("texts")).rejects.toThrow(/^texts.jsonl:2: text is malformed, expected JSON/)
    await expect(data.read("books")).rejects.toThrow("books.jsonl: number of records is 0, expected at least 1")
    await expect(data.read("blimp")).rejects.toThrow(/blimp.jsonl.gz: gzip data is damaged/)
    await expect(data.read("ruler")).rejects.toThrow("ruler.jsonl:1: text is in another encoding, expected UTF-8")
    await expect(data.read("mrcr")).rejects.toThrow("the file mrcr.jsonl is missing, expected it or mrcr.jsonl.gz")
    await expect(data.read("../texts")).rejects.toThrow(`data is "../texts", expected one of ${DATA_NAMES.join(", ")}`)
  })

  test("tries a file again that could not be had", async () => {
    let there = false
    const data = evalData(async (file) => (there ? memorySource(bytes("1\n"), file) : undefined))
    await expect(data.read("texts")).rejects.toThrow(RangeError)
    there = true
    expect(await data.read("texts")).toEqual([1])
  })

  test("of the package has all that tasks read without a folder of the user's", async () => {
    for (const name of DATA_NAMES) {
      if (name === "ruler" || name === "mrcr") continue
      expect((await packageData.read(name)).length, name).toBeGreaterThan(8)
    }
  })
})

describe("memoryData", () => {
  test("gives what it was given, and names what it has", async () => {
    const data = memoryData({ texts: [{ text: "a" }] })
    expect(await data.read("texts")).toEqual([{ text: "a" }])
    expect(await data.fingerprint("texts")).not.toBe(await memoryData({ texts: [{ text: "b" }] }).fingerprint("texts"))
    await expect(data.read("books")).rejects.toThrow('data is "books", expected one of texts')
  })
})
