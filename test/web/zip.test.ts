import { unzipSync, zipSync } from "fflate"
import { describe, expect, test } from "vitest"
import { findPeftFiles, nameOfFiles } from "../../web/src/adapters/peft_files.ts"
import { readEntry, type ZipEntry, zipEntries } from "../../web/src/adapters/zip/read_zip.ts"
import { zip } from "../../web/src/adapters/zip/write_zip.ts"

const LARGE = Uint8Array.from({ length: 30_001 }, (_, i) => (i * i) >> 7)
const FILES = {
  "a folder/größe.bin": LARGE,
  "a folder/empty": new Uint8Array(),
  "top.json": new TextEncoder().encode("{}"),
}
const CONFIG = "adapter_config.json"
const WEIGHTS = "adapter_model.safetensors"

type Level = 0 | 6

/** A zip made by others. */
function foreign(files: Record<string, Uint8Array>, level: Level = 6): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(zipSync(files, { level }))
}

async function contents(bytes: Uint8Array<ArrayBuffer>, limit = 1e6): Promise<Record<string, Uint8Array>> {
  const blob = new Blob([bytes])
  const all: Record<string, Uint8Array> = {}
  for (const entry of await zipEntries(blob)) {
    all[entry.name] = new Uint8Array(await (await readEntry(blob, entry, limit)).arrayBuffer())
  }
  return all
}

describe("zip", () => {
  test("writes what others read", async () => {
    const files = Object.entries(FILES).map(([name, bytes]) => ({ name, content: new Blob([bytes]) }))
    const packed = await zip(files)
    expect(unzipSync(new Uint8Array(await packed.arrayBuffer()))).toEqual(FILES)
  })

  test("stops when it is told to", async () => {
    const files = [{ name: "a", content: new Blob([LARGE]) }]
    await expect(zip(files, AbortSignal.abort())).rejects.toThrow(/abort/)
  })
})

describe("zipEntries and readEntry", () => {
  for (const level of [0, 6] as const) {
    test(`read what others write, ${level === 0 ? "stored" : "deflated"}`, async () => {
      expect(await contents(foreign(FILES, level))).toEqual(FILES)
    })

    test(`notice every byte that is another, ${level === 0 ? "stored" : "deflated"}`, async () => {
      const bytes = foreign({ a: LARGE.subarray(0, 2000) }, level)
      const [{ packed }] = (await zipEntries(new Blob([bytes]))) as [ZipEntry]
      for (let at = 31; at < 31 + packed; at += 97) {
        const damaged = bytes.slice()
        damaged[at]! ^= 4
        await expect(contents(damaged), `byte ${at}`).rejects.toThrow(SyntaxError)
      }
    })
  }

  test("refuse one that is cut short anywhere", async () => {
    const bytes = foreign({ a: LARGE.subarray(0, 200), b: LARGE.subarray(0, 20) })
    for (let end = 0; end < bytes.length; end++) {
      await expect(contents(bytes.slice(0, end)), `${end} bytes`).rejects.toThrow(/expected a whole zip/)
    }
  })

  test("find the end behind a comment, and what is no end in it", async () => {
    const bytes = foreign({ a: LARGE.subarray(0, 200) })
    const comment = new TextEncoder().encode("PK\x05\x06 is not the end")
    const commented = new Uint8Array(bytes.length + comment.length)
    commented.set(bytes)
    commented.set(comment, bytes.length)
    commented[bytes.length - 2] = comment.length
    expect(Object.keys(await contents(commented))).toEqual(["a"])
  })

  test("unpack no more than a limit, whatever the directory says", async () => {
    const bomb = foreign({ a: new Uint8Array(5_000_000) })
    expect(bomb.length).toBeLessThan(10_000)
    await expect(contents(bomb)).rejects.toThrow("a: size is 5000000 bytes, expected at most 1000000")
    const view = new DataView(bomb.buffer)
    const listed = view.getUint32(bomb.length - 6, true)
    view.setUint32(listed + 24, 1000, true) // a lie about the size
    await expect(contents(bomb)).rejects.toThrow("a is damaged")
  })

  test("refuse what is encrypted, packed in another way or for large files", async () => {
    const change = (offset: number, value: number, size: 16 | 32 = 16) => {
      const bytes = foreign({ a: LARGE.subarray(0, 200) })
      const view = new DataView(bytes.buffer)
      const at = view.getUint32(bytes.length - 6, true) + offset
      if (size === 16) view.setUint16(at, value, true)
      else view.setUint32(at, value, true)
      return bytes
    }
    await expect(contents(change(8, 1))).rejects.toThrow("a is encrypted")
    await expect(contents(change(10, 14))).rejects.toThrow("a is packed by method 14")
    await expect(contents(change(20, 0xffffffff, 32))).rejects.toThrow("a is in the form for more than 4 GiB")
    await expect(contents(change(42, 5, 32))).rejects.toThrow("a is not where the directory says")
  })

  test("refuse bytes of any other kind", async () => {
    for (let seed = 1; seed < 50; seed++) {
      const bytes = Uint8Array.from({ length: seed * 7 }, (_, i) => (i * seed * 2654435761) >>> 13)
      await expect(contents(bytes)).rejects.toThrow(SyntaxError)
    }
  })
})

describe("findPeftFiles", () => {
  const config = new TextEncoder().encode("{}")
  const weights = new Uint8Array(16)
  const zipFile = (files: Record<string, Uint8Array>) => new File([foreign(files)], "my adapter.zip")
  const loose = (path: string) => {
    const file = new File([weights], path.split("/").at(-1)!)
    Object.defineProperty(file, "webkitRelativePath", { value: path.includes("/") ? path : "" })
    return file
  }

  test("takes two files, a folder, a zip, a folder in a zip; of a run's folder what is not of its checkpoints", async () => {
    const inZip = { [CONFIG]: config, [WEIGHTS]: weights }
    const below = (folder: string) => Object.fromEntries(Object.entries(inZip).map(([k, v]) => [folder + k, v]))
    const given: readonly (readonly File[])[] = [
      [loose(CONFIG), loose(WEIGHTS), loose("README.md")],
      [loose(`one/${WEIGHTS}`), loose(`one/${CONFIG}`), loose(`one/checkpoint-3/${CONFIG}`)],
      [zipFile(inZip)],
      [zipFile({ ...below("run/checkpoint-9/"), ...below("run/"), ...below("__MACOSX/") })],
      [zipFile(below("../../"))], // where they lie says nothing about where they go
    ]
    for (const files of given) {
      const found = await findPeftFiles(files)
      expect(found.map(({ name }) => name)).toEqual([CONFIG, WEIGHTS])
      expect(found[1].size).toBe(weights.length)
    }
    expect(given.map((files) => nameOfFiles(files))).toEqual([
      "Adapter",
      "one",
      "my adapter",
      "my adapter",
      "my adapter",
    ])
  })

  test("says what is missing, twice there, too large or of another kind", async () => {
    const cases: readonly (readonly [readonly File[], string])[] = [
      [[loose("model.safetensors")], "adapter_config.json: is missing"],
      [[loose(CONFIG)], "adapter_model.safetensors: is missing"],
      [[loose(`a/${CONFIG}`), loose(`b/${WEIGHTS}`)], "adapter_model.safetensors: is missing"],
      [[loose(CONFIG), loose("adapter_model.bin")], "adapter_model.bin: is a pickle"],
      [[zipFile({ [`a/${CONFIG}`]: config, [`b/${CONFIG}`]: config })], "adapter_config.json: is there 2 times"],
      [[zipFile({ [CONFIG]: new Uint8Array(2 ** 20 + 1), [WEIGHTS]: weights })], "expected at most 1048576"],
      [[new File([LARGE], "x.zip")], "zip: end is missing"],
      [[new File([], "x.ZIP")], "zip: end is missing"],
    ]
    for (const [files, text] of cases) await expect(findPeftFiles(files), text).rejects.toThrow(text)
  })
})
