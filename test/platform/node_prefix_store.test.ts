import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { directoryPrefixStore } from "../../src/platform/node_prefix_store.ts"

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "gemlet-store-"))
})
afterEach(() => rm(directory, { recursive: true }))

const bytes = (...values: number[]) => [Uint8Array.from(values)]

describe("directoryPrefixStore", () => {
  test("tells its files, their sizes and when they were used", async () => {
    const store = directoryPrefixStore(join(directory, "later"))
    expect(await store.stored()).toEqual([])
    await store.write("a", bytes(1, 2, 3))
    await mkdir(join(directory, "later", "folder"))
    await utimes(join(directory, "later", "a"), 1000, 1000)
    expect(await store.stored()).toEqual([{ name: "a", byteLength: 3, usedAt: 1e6 }])
    await store.touch("a")
    expect((await store.stored())[0]!.usedAt).toBeGreaterThan(Date.now() - 60_000)
    expect(new Uint8Array(await (await store.open("a"))!.slice(0, 3))).toEqual(Uint8Array.of(1, 2, 3))
    await store.remove("a")
    await store.remove("a")
    expect(await store.stored()).toEqual([])
    expect(await store.open("a")).toBeUndefined()
  })

  test("clears away what was left half written long ago, and nothing that may still be written", async () => {
    const [old, young, other] = [".a.safetensors.1.tmp", ".b.safetensors.2.tmp", ".mine.tmp"]
    for (const name of [old, young, other]) await writeFile(join(directory, name), "")
    for (const name of [old, other]) await utimes(join(directory, name), 1000, 1000)
    const store = directoryPrefixStore(directory)
    await store.write("c.safetensors", bytes(1))
    expect((await readdir(directory)).sort()).toEqual([young, other, "c.safetensors"])
  })

  test("a write that fails leaves nothing", async () => {
    const store = directoryPrefixStore(directory)
    async function* broken() {
      yield Uint8Array.of(1)
      throw new RangeError("it breaks")
    }
    await expect(store.write("a", broken())).rejects.toThrow("it breaks")
    expect(await readdir(directory)).toEqual([])
  })

  test("touches and removes nothing outside of the folder", async () => {
    const store = directoryPrefixStore(directory)
    for (const name of ["../a", "/etc/passwd", ""]) {
      await expect(store.touch(name)).rejects.toThrow(/expected a name inside the folder/)
      await expect(store.remove(name)).rejects.toThrow(/expected a name inside the folder/)
    }
  })
})
