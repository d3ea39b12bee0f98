import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, test, vi } from "vitest"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import {
  browser,
  content,
  download,
  expectModel,
  hub,
  interrupted,
  ranges,
  SIZE,
  store,
  useBrowser,
  useNavigator,
} from "./browser.ts"
import { FakeNavigator, MemoryDirectory, MemoryFile } from "./browser_origin.ts"
import { expectHubError, MODEL } from "./workspace.ts"

useBrowser()

describe("ModelStore, space", () => {
  test("download compares the room with the need before it asks for anything large, and says how much is short", async () => {
    browser.space.quota = 1_500_000
    await expectHubError(download(), "space", hub.id, "2.5 MB are to come", "room for 1.5 MB", "1.0 MB short")
    expect(hub.sent(MODEL)).toBe(0)
    expect(await store().list()).toEqual([])
  })

  test("download says what is short when the storage gets full, and keeps what is whole", async () => {
    browser.storage.estimate = async () => ({}) as { quota: number; usage: number }
    browser.space.quota = 1_500_000
    await expectHubError(download(), "space", MODEL, "full at byte 1048576 of 2500000, 1.5 MB short")
    expect((await content("config.json")).equals(hub.files.get("config.json")!)).toBe(true)
    expect(await store().list()).toMatchObject([{ loaded: 1048576 + 44, complete: false }])
    browser.space.quota = 1e9
    hub.log.length = 0
    await download()
    await expectModel()
    expect(ranges()).toEqual(["bytes=1048576-"])
    expect(hub.sent("config.json")).toBe(0)
  })

  test("estimate counts the models beside what the browser tells, and persist asks where it can", async () => {
    await download()
    const { used } = browser.space
    expect(await store().estimate()).toEqual({ quota: 1e9, usage: used, models: SIZE + 44, persisted: false })
    expect(await store().persist()).toBe(true)
    expect((await store().estimate()).persisted).toBe(true)
    const { getDirectory, estimate, persisted } = browser.storage
    vi.stubGlobal("navigator", { storage: { getDirectory, estimate, persisted } }) // a worker's
    expect(await store().persist()).toBe(true)
  })

  test("the store says why there is none in a page without https", async () => {
    vi.stubGlobal("navigator", {})
    await expect(download()).rejects.toThrow(TypeError)
    await expect(store().list()).rejects.toThrow("expected one served by https or from localhost")
  })
})

describe.each([{ locks: true }, { locks: false }])("ModelStore, several at once, %o", (options) => {
  test("download lets one of several transfer and the others wait", async () => {
    useNavigator(new FakeNavigator(options))
    const onWait = vi.fn()
    const models = await Promise.all([0, 1, 2].map(() => download({ onWait })))
    expect(models.map(({ complete }) => complete)).toEqual([true, true, true])
    expect(onWait).toHaveBeenCalledTimes(2)
    await expectModel()
    expect(hub.sent(MODEL)).toBe(SIZE)
  })

  test("download stops waiting when it is told to, and remove does not wait", async () => {
    useNavigator(new FakeNavigator(options))
    hub.fail(MODEL, { stall: 1000 })
    const stop = new AbortController()
    const first = download({ signal: stop.signal })
    const second = download({ signal: AbortSignal.timeout(50) })
    await expect(second).rejects.toMatchObject({ name: "TimeoutError" })
    await expectHubError(store().remove(hub.id), "busy", hub.id, "underway")
    stop.abort(new Error("stopped"))
    await expect(first).rejects.toThrow("stopped")
    await store().remove(hub.id)
    await download()
    await expectModel()
  })
})

describe("ModelStore, keeping", () => {
  test("remove takes a model and leaves the others; one that is not there is no error", async () => {
    await download()
    const id = hub.id
    hub.id = "google/other"
    await download()
    await store().remove(id)
    await store().remove(id)
    expect((await store().list()).map((model) => model.id)).toEqual(["google/other"])
    await expectHubError(store().open(id), "missing", `${id}: not among the models kept here`)
    expect(browser.space.used).toBeLessThan(SIZE + 2000)
  })

  test("open says how much of an unfinished model is here", async () => {
    await interrupted(1_500_000)
    await expectHubError(store().open(hub.id), "missing", `${hub.id}: 1.5 MB of 2.5 MB are here, expected all`)
  })

  test("open marks the model as used and refuses names outside it; files go to a worker", async () => {
    const { usedAt } = await download()
    await new Promise((done) => setTimeout(done, 20))
    const folder = await store().open(hub.id)
    expect((await store().list())[0]!.usedAt).toBeGreaterThan(usedAt!)
    expect(await folder.open("nothing.json")).toBeUndefined()
    await expect(folder.open("../x")).rejects.toThrow(RangeError)
    const files = await store().files(hub.id)
    expect(files.map(({ name, size }) => [name, size]).at(-1)).toEqual([MODEL, SIZE])
    expect(Buffer.from(await files.at(-1)!.arrayBuffer()).equals(hub.files.get(MODEL)!)).toBe(true)
  })

  test("a model that has lost a piece or its manifest is incomplete, and download mends it", async () => {
    await download()
    const models = await browser.root.getDirectoryHandle("gemlet-models")
    const folder = await models.getDirectoryHandle(encodeURIComponent(hub.id))
    const blob = await (await folder.getDirectoryHandle("blobs")).getDirectoryHandle(hub.etag(MODEL))
    await blob.removeEntry("1")
    expect(await store().list()).toMatchObject([{ complete: false, id: hub.id }])
    await download()
    await expectModel()
    const manifest = await folder.getFileHandle("model.json")
    for (const text of ["{", '{"id": 3, "files": [{}]}', "null"]) {
      manifest.bytes = new TextEncoder().encode(text)
      expect(await store().list()).toMatchObject([{ complete: false, id: hub.id, storedBytes: SIZE + 44 }])
      hub.log.length = 0
      await download()
      await expectModel()
      expect(hub.fileRequests).toEqual([])
    }
  })
})

const GOLDEN = "test/fixtures/goldens/tiny-gemma3-rope8-sharded"
const SHARDS = [1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`)
const WANTED = ["config.json", "model.safetensors.index.json", ...SHARDS]

describe("ModelStore.import", () => {
  test("import copies what a picked folder has of a model, under the folder's name", async () => {
    const seen: number[] = []
    const model = await store().import(await picked(), { onProgress: ({ loaded }) => seen.push(loaded) })
    expect(model).toMatchObject({ id: "my-model", complete: true, revision: undefined, loaded: model.bytes })
    expect(model.files.map(({ path }) => path)).toEqual(WANTED)
    expect(seen.at(-1)).toBe(2 * model.bytes)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    const folder = await store().open("my-model")
    for (const name of WANTED) {
      const source = await folder.open(name)
      expect(Buffer.from(await source!.slice(0, source!.byteLength)).equals(await readFile(join(GOLDEN, name)))).toBe(
        true,
      )
    }
    expect((await openCheckpoint(folder)).config.modelType).toBe("gemma3_text")
  })

  test("import takes a folder that was dropped, and a name that is given", async () => {
    const folder = new MemoryDirectory("dropped", browser.space)
    for (const file of await picked()) {
      const handle = await folder.getFileHandle(file.name, { create: true })
      handle.bytes = new Uint8Array(await file.arrayBuffer())
    }
    const handle = folder as unknown as FileSystemDirectoryHandle
    expect(await store().import(handle, { id: "me/mine" })).toMatchObject({ id: "me/mine", complete: true })
    await expect(store().import(handle, { id: "no name" })).rejects.toThrow(RangeError)
  })

  test("import gives a model of other files another name, and the same one its own", async () => {
    await store().import(await picked())
    expect((await store().import(await picked())).id).toBe("my-model")
    const files = await picked()
    const config = files.find(({ name }) => name === "config.json")!
    const other = asPicked(new File([await config.text(), "\n"], "config.json"))
    expect((await store().import([...files.filter((file) => file !== config), other])).id).toBe("my-model-2")
    expect((await store().list()).map(({ id }) => id)).toEqual(["my-model", "my-model-2"])
  })

  test("import refuses before it copies what is missing, cut off or no model", async () => {
    const files = await picked()
    const without = (name: string) => files.filter((file) => file.name !== name)
    await expectHubError(store().import(without("config.json")), "unsupported", "config.json is missing")
    await expect(store().import(without(SHARDS[1]!))).rejects.toThrow(SHARDS[1])
    const shard = files.find(({ name }) => name === SHARDS[0])!
    const cut = asPicked(new File([shard.slice(0, shard.size - 9)], shard.name))
    await expect(store().import([...without(shard.name), cut])).rejects.toThrow(SHARDS[0])
    await expectHubError(store().import([]), "unsupported", "files are none")
    expect(browser.root.paths()).toEqual([])
  })

  test("import names a file that cannot be read any more, and stops when told to", async () => {
    const files = await picked()
    const shard = files.find(({ name }) => name === SHARDS[1])!
    const slice = shard.slice.bind(shard)
    shard.slice = (start = 0, end) => {
      if (end === shard.size && start === 0) throw new DOMException("the file has changed", "NotReadableError")
      return slice(start, end)
    }
    await expectHubError(store().import(files), "corrupt", SHARDS[1]!, "the file has changed")
    const stop = new AbortController()
    const onProgress = () => stop.abort(new Error("enough"))
    await expect(store().import(await picked(), { signal: stop.signal, onProgress })).rejects.toThrow("enough")
    expect((await store().list()).filter(({ complete }) => complete)).toEqual([])
  })

  test("import goes on from where it was broken off", async () => {
    browser.storage.estimate = async () => ({}) as { quota: number; usage: number }
    browser.space.quota = 700_000
    await expectHubError(store().import(await picked()), "space", SHARDS[2]!)
    expect(await store().list()).toMatchObject([{ id: "my-model", complete: false }])
    const kept = browser.root.paths().filter((path) => /blobs.*\d$/.test(path))
    browser.space.quota = 1e9
    const written = vi.spyOn(MemoryFile.prototype, "createWritable")
    expect(await store().import(await picked())).toMatchObject({ id: "my-model", complete: true })
    const names = written.mock.contexts.map((file) => (file as MemoryFile).name).filter((name) => /^\d$/.test(name))
    expect(kept.length + names.length).toBe(WANTED.length)
    expect(names.length).toBe(1)
  })
})

/** The golden's files as a file input gives them. */
async function picked(): Promise<File[]> {
  const names = [...WANTED, "README.md"]
  return Promise.all(names.map(async (name) => asPicked(new File([await readFile(join(GOLDEN, name))], name))))
}

function asPicked(file: File): File {
  return Object.defineProperty(file, "webkitRelativePath", { value: `my model/${file.name}` })
}
