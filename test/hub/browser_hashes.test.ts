import { describe, expect, test } from "vitest"
import { browser, download, expectModel, hub, interrupted, ranges, SIZE, store, useBrowser } from "./browser.ts"
import { expectHubError, MODEL, noise } from "./workspace.ts"

useBrowser()

describe("ModelStore.download, wrong bytes", () => {
  test("download receives a corrupt file once more", async () => {
    hub.fail(MODEL, { corrupt: 1_234_567 })
    await download()
    await expectModel()
    expect(hub.sent(MODEL)).toBe(2 * SIZE)
  })

  test.each([MODEL, "config.json"])(
    "download keeps nothing of a %s that stays corrupt, and says both hashes",
    async (file) => {
      hub.fail(file, ...Array.from({ length: 9 }, () => ({ corrupt: 7 })))
      const algorithm = file === MODEL ? "sha256" : "git-sha1"
      await expectHubError(download(), "corrupt", `${file}: ${algorithm} is `, `expected ${hub.etag(file)}`)
      expect(browser.root.paths().filter((path) => path.includes(hub.etag(file)))).toEqual([])
      await expectHubError(store().open(hub.id), "missing", "are here, expected all")
    },
  )

  test("download finds a corrupt byte in what an earlier one left", async () => {
    const kept = await interrupted(1_500_000)
    const models = await browser.root.getDirectoryHandle("gemlet-models")
    const blobs = await (await models.getDirectoryHandle(encodeURIComponent(hub.id))).getDirectoryHandle("blobs")
    const piece = await (await blobs.getDirectoryHandle(hub.etag(MODEL))).getFileHandle("0")
    piece.bytes[5]! ^= 1
    await download()
    await expectModel()
    expect(hub.sent(MODEL)).toBe(SIZE - kept + SIZE)
  })

  test("download begins a file anew that has changed since it was broken off", async () => {
    await interrupted(1_500_000)
    hub.commit = "2".repeat(40)
    hub.files.set(MODEL, noise(SIZE, 77))
    await download()
    await expectModel()
    expect(ranges()).toEqual([undefined])
    expect(await store().list()).toMatchObject([{ storedBytes: SIZE + 44 }])
  })

  test("download asks again when the same commit serves a file of another size", async () => {
    const change = () => setTimeout(() => hub.files.set(MODEL, noise(SIZE - 5, 78)), 10)
    hub.fail(MODEL, { drop: 1_000_000, before: change })
    await download()
    await expectModel()
  })

  test("download brings only what a new commit changes, and the old model stays until it is all here", async () => {
    await download()
    const old = hub.files.get(MODEL)!
    hub.commit = "2".repeat(40)
    hub.files.set(MODEL, noise(SIZE, 77))
    await interrupted(1_500_000)
    const source = await (await store().open(hub.id)).open(MODEL)
    expect(Buffer.from(await source!.slice(0, SIZE)).equals(old)).toBe(true)
    hub.log.length = 0
    expect((await download()).commit).toBe(hub.commit)
    await expectModel()
    expect(hub.sent("config.json")).toBe(0)
    expect(await store().list()).toMatchObject([{ storedBytes: SIZE + 44 }])
  })

  test("download uses what is here without the network, and says so where nothing is", async () => {
    await download()
    hub.goOffline()
    expect((await download()).complete).toBe(true)
    await expectModel()
    await expectHubError(download({ revision: "v2" }), "network", hub.id)
    await expectHubError(store().download("google/other"), "network", "google/other")
  })
})
