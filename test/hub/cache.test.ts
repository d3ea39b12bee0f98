import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, test, vi } from "vitest"
import { ModelCache } from "../../src/hub/cache.ts"

const disk = vi.hoisted(() => ({ refusesLinks: false }))

vi.mock("node:fs/promises", async (original) => {
  const fs = await original<typeof import("node:fs/promises")>()
  const symlink: typeof fs.symlink = async (...link) => {
    if (disk.refusesLinks) throw Object.assign(new Error("EPERM: operation not permitted, symlink"), { code: "EPERM" })
    await fs.symlink(...link)
  }
  return { ...fs, symlink }
})

const commit = "a".repeat(40)
let folder: string
let cache: ModelCache

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "gemlet-cache-"))
  cache = new ModelCache(folder, "owner/name")
  await mkdir(join(cache.root, "blobs"), { recursive: true })
  await writeFile(cache.blob("e1"), "one")
})

afterEach(async () => {
  disk.refusesLinks = false
  await rm(folder, { recursive: true, force: true })
})

test.each([false, true])(
  "ModelCache.place links a blob, or copies it where links are refused (%s)",
  async (refused) => {
    disk.refusesLinks = refused
    const file = join(cache.snapshot(commit), "config.json")
    await cache.place(commit, "config.json", "e1")
    await cache.place(commit, "config.json", "e1") // again, over itself
    expect((await lstat(file)).isSymbolicLink()).toBe(!refused)
    expect(await readFile(file, "utf8")).toBe("one")
    expect(await readdir(cache.snapshot(commit))).toEqual(["config.json"])
  },
)

test("ModelCache.setCommit writes the reference as huggingface_hub does, slashes as folders", async () => {
  await cache.setCommit("refs/pr/1", commit)
  expect(await readFile(join(folder, "models--owner--name", "refs", "refs", "pr", "1"), "utf8")).toBe(commit)
  expect(await cache.commitOf("refs/pr/1")).toBe(commit)
  expect(await cache.commitOf("main")).toBeUndefined()
})

test("ModelCache.isRunnable wants config.json and all weights", async () => {
  await cache.place(commit, "config.json", "e1")
  expect(await cache.isRunnable(commit)).toBe(false)
  const index = { weight_map: { a: "model-1.safetensors", b: "model-2.safetensors" } }
  await writeFile(cache.blob("e2"), JSON.stringify(index))
  await cache.place(commit, "model.safetensors.index.json", "e2")
  await cache.place(commit, "model-1.safetensors", "e1")
  expect(await cache.isRunnable(commit)).toBe(false)
  await cache.place(commit, "model-2.safetensors", "e1")
  expect(await cache.isRunnable(commit)).toBe(true)
})
