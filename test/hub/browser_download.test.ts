import { describe, expect, test, vi } from "vitest"
import { HubError } from "../../src/hub/errors.ts"
import type { DownloadProgress } from "../../src/hub/progress.ts"
import {
  browser,
  content,
  download,
  expectModel,
  hub,
  interrupted,
  NAMES,
  PIECE,
  ranges,
  SIZE,
  store,
  useBrowser,
} from "./browser.ts"
import { expectHubError, MODEL, noise } from "./workspace.ts"

useBrowser()

describe("ModelStore.download", () => {
  test("download brings what a model needs, and tells what is here", async () => {
    const model = await download()
    expect(await store().list()).toEqual([model])
    await expectModel()
    const bytes = NAMES.reduce((sum, name) => sum + hub.files.get(name)!.length, 0)
    expect(model).toMatchObject({ id: hub.id, revision: "main", commit: hub.commit, complete: true })
    expect(model).toMatchObject({ bytes, loaded: bytes, storedBytes: bytes })
    expect(model.files).toEqual(NAMES.map((path) => ({ path, size: hub.files.get(path)!.length })))
    expect(Math.abs(model.usedAt! - Date.now())).toBeLessThan(10_000)
  })

  test("download asks for no file that is here, and for nothing at all by a commit's full hash", async () => {
    await download({ revision: hub.commit })
    hub.log.length = 0
    await download({ revision: hub.commit })
    expect(hub.log).toEqual([])
    await download()
    expect(hub.log.length).toBe(1)
  })

  test("download brings the shards that the index names, and refuses one that leaves the folder", async () => {
    const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    hub.files.delete(MODEL)
    const index = (names: string[]) =>
      Buffer.from(JSON.stringify({ weight_map: Object.fromEntries(names.map((name, i) => [`w${i}`, name])) }))
    hub.files.set("model.safetensors.index.json", index(["../../evil.safetensors"]))
    await expect(download()).rejects.toThrow("evil")
    for (const [i, shard] of shards.entries()) hub.files.set(shard, noise(50_000, 10 + i))
    hub.files.set("model.safetensors.index.json", index(shards))
    await download()
    await expectModel(["config.json", "tokenizer.json", "model.safetensors.index.json", ...shards])
  })

  test("download reads a list of files in several pages, and refuses answers that no Hub gives", async () => {
    hub.pageSize = 1
    await download()
    await expectModel()
    const answer = (part: string, value: unknown) =>
      store({ fetch: async (url, init) => (String(url).includes(part) ? Response.json(value) : fetch(url, init)) })
    hub.commit = "2".repeat(40)
    const file = { type: "file", path: "a", size: 1, oid: "1".repeat(40) }
    for (const [part, value, text] of [
      ["/revision/", { sha: 3 }, "commit of v1 is 3, expected 40 hex digits"],
      ["/tree/", {}, "answer is no list"],
      ["/tree/", [{ ...file, oid: "../../x" }], 'a: etag is "../../x"'],
      ["/tree/", [{ ...file, size: -1 }], "a: size is -1"],
      ["/tree/", [{ ...file, path: undefined }], "path is undefined"],
    ] as const) {
      await expectHubError(
        answer(part, value).download(hub.id, { revision: part === "/tree/" ? "main" : "v1" }),
        "server",
        text,
      )
    }
    await expectModel()
  })

  test("download takes one GGUF of several by its name", async () => {
    hub.files.delete(MODEL)
    hub.files.delete("config.json")
    hub.files.set("a.gguf", noise(1000, 5))
    hub.files.set("b.gguf", noise(1000, 6))
    await expect(download()).rejects.toThrow("a.gguf, b.gguf")
    const id = `${hub.id}/b.gguf`
    await store().download(id)
    const folder = await store().open(id)
    expect(folder.file).toBe("b.gguf")
    expect(await folder.list?.()).toEqual(["tokenizer.json", "b.gguf"])
    expect((await store().list()).map((model) => model.id)).toEqual([id])
  })

  test("download gives the token to the Hub alone", async () => {
    await download({ token: "secret" })
    for (const { server, token } of hub.log) expect(token).toBe(server === "hub" ? "Bearer secret" : undefined)
  })

  test("download reports all files together, resumed bytes included", async () => {
    const kept = await interrupted(1_500_000)
    const small = hub.files.get("config.json")!.length + hub.files.get("tokenizer.json")!.length
    const seen: DownloadProgress[] = []
    hub.fail(MODEL, { slow: 1 })
    await download({ onProgress: (progress) => seen.push(progress) })
    expect(new Set(seen.map(({ total }) => total))).toEqual(new Set([SIZE + small]))
    expect(seen.map(({ loaded }) => loaded)).toEqual(seen.map(({ loaded }) => loaded).sort((a, b) => a - b))
    expect(seen.find(({ file }) => file === MODEL)?.loaded).toBe(small + kept)
    expect(seen.at(-1)).toMatchObject({ loaded: SIZE + small, secondsLeft: 0 })
    expect(seen.at(-1)!.bytesPerSecond).toBeGreaterThan(0)
  })

  test.each(["", "a/b/c", "../x", "a b", "a/b/../c.gguf"])("download throws a RangeError for the id %j", async (id) => {
    await expect(store().download(id)).rejects.toThrow(RangeError)
    expect(hub.log).toEqual([])
    expect(browser.root.paths()).toEqual([])
  })

  test("download leaves nothing of a model that is not there, gated, or of no known kind", async () => {
    const message = `google/other: not found on ${hub.endpoint}, or it is private (give a token)`
    await expect(store().download("google/other")).rejects.toThrow(new HubError("missing", message))
    await expectHubError(download({ revision: "v9" }), "missing", "revision is v9")
    hub.access = { status: 401, code: "GatedRepo" }
    await expectHubError(download(), "access", "accept the licence", "and give a token")
    hub.access = { status: 403, message: "not for you" }
    await expectHubError(download({ token: "t" }), "access", "not for you", "; give a token that may read it")
    hub.access = { status: 401, message: "Invalid credentials in Authorization header" }
    await expectHubError(download({ token: "t" }), "access", "token is refused", "or give none")
    hub.access = undefined
    hub.files.delete(MODEL)
    await expectHubError(download(), "unsupported", "expected model.safetensors")
    expect(await store().list()).toEqual([])
  })
})

describe("ModelStore.download, broken connections", () => {
  test("download continues a dropped file where it stopped", async () => {
    hub.fail(MODEL, { drop: 1_000_000 }, { drop: 500_000 })
    await download()
    await expectModel()
    expect(ranges().length).toBe(3)
    expect(ranges()[0]).toBeUndefined()
    for (const range of ranges().slice(1)) expect(range).toMatch(/^bytes=[1-9]\d*-$/)
    expect(hub.sent(MODEL)).toBeLessThan(SIZE + 40_000)
  })

  test("download stops when told to, keeps every byte that has arrived and goes on from there", async () => {
    const kept = await interrupted(1_500_000)
    expect(kept).toBe(1_500_000)
    expect(await store().list()).toMatchObject([{ id: hub.id, complete: false, revision: "main", usedAt: undefined }])
    await download()
    await expectModel()
    expect(ranges()).toEqual([`bytes=${kept}-`])
    expect(hub.sent(MODEL)).toBe(SIZE - kept)
    expect(hub.sent("config.json")).toBe(0)
  })

  test("download goes on after its tab was killed, from the last piece that was closed", async () => {
    const stop = new AbortController()
    hub.fail(MODEL, { stall: 2_300_000 })
    const seen: number[] = []
    const killed = download({ signal: stop.signal, onProgress: ({ loaded }) => seen.push(loaded) })
    await vi.waitFor(() => expect(hub.sent(MODEL)).toBe(2_300_000), { timeout: 5000 })
    await vi.waitFor(async () => expect((await content(MODEL)).length).toBe(2 * PIECE), { timeout: 5000 })
    browser.kill()
    stop.abort(new Error("killed"))
    await expect(killed).rejects.toThrow("killed")
    hub.log.length = 0
    expect((await content(MODEL)).length).toBe(2 * PIECE)
    await download()
    await expectModel()
    expect(ranges()).toEqual([`bytes=${2 * PIECE}-`])
  })

  test.each([
    ["ignores ranges", { ignoreRange: true }],
    ["refuses the range", { status: 416 }],
  ])("download starts over when the server %s", async (_, fault) => {
    const kept = await interrupted(1_500_000)
    hub.fail(MODEL, fault)
    await download()
    await expectModel()
    expect(ranges()[0]).toBe(`bytes=${kept}-`)
    expect(hub.sent(MODEL)).toBe(SIZE)
  })

  test("download does not mix what a server calls by two names", async () => {
    hub.fail(MODEL, { drop: 1_000_000 }, { etag: "another" })
    await download()
    await expectModel()
    expect(ranges().length).toBe(3)
    expect(ranges()[2]).toBeUndefined()
  })

  test("download continues after an answer that ends early", async () => {
    hub.fail(MODEL, { truncate: 1000 })
    await download()
    await expectModel()
    expect(ranges()).toEqual([undefined, `bytes=${SIZE - 1000}-`])
  })

  test("download leaves a stalled connection, and names one that does not end", async () => {
    hub.fail(MODEL, { stall: 1_000_000 })
    await store({ patience: { stall: 300 } }).download(hub.id)
    await expectModel()
    expect(hub.sent(MODEL)).toBeLessThan(SIZE + 40_000)
    hub.commit = "2".repeat(40)
    hub.files.set(MODEL, noise(SIZE, 2))
    hub.fail(MODEL, ...Array.from({ length: 9 }, () => ({ stall: 10 })))
    await expectHubError(store({ patience: { stall: 100 } }).download(hub.id), "network", MODEL, "no data for 0.1 s")
  })

  test("download waits as long as a busy server asks, and gives up on one that keeps failing", async () => {
    hub.fail("config.json", { status: 429, headers: { "retry-after": "1" } }, { status: 503 })
    const start = performance.now()
    await store({ patience: { longestPause: 2000 } }).download(hub.id)
    expect(performance.now() - start).toBeGreaterThan(990)
    await expectModel()
    hub.commit = "2".repeat(40)
    hub.files.set("config.json", Buffer.from("{}"))
    hub.fail("config.json", ...Array.from({ length: 9 }, () => ({ status: 503 })))
    await expectHubError(download(), "server", "config.json", "503")
  })

  test("download is not held up by a pause when it is stopped", async () => {
    hub.fail("config.json", ...Array.from({ length: 9 }, () => ({ status: 500 })))
    const patience = { pause: 30_000, longestPause: 30_000 }
    const start = performance.now()
    const stopped = store({ patience }).download(hub.id, { signal: AbortSignal.timeout(200) })
    await expect(stopped).rejects.toMatchObject({ name: "TimeoutError" })
    expect(performance.now() - start).toBeLessThan(5000)
  })
})
