import { mkdir, readdir, readFile, readlink, rm, stat, symlink, truncate, unlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, test, vi } from "vitest"
import { downloadModel } from "../../src/hub/download.ts"
import type { DownloadProgress } from "../../src/hub/progress.ts"
import {
  cacheDir,
  download,
  errorOf,
  expectHubError,
  expectModel,
  folder,
  hub,
  MODEL,
  noise,
  repo,
  SIZE,
  useHub,
} from "./workspace.ts"

useHub()

describe("downloadModel, the cache", () => {
  test("downloadModel lays files out as huggingface_hub does", async () => {
    const snapshot = await download()
    await expectModel(snapshot)
    expect(await readlink(join(snapshot, MODEL))).toBe(`../../blobs/${hub.etag(MODEL)}`)
    expect(await readlink(join(snapshot, "config.json"))).toBe(`../../blobs/${hub.etag("config.json")}`)
    expect(await readFile(repo("refs", "main"), "utf8")).toBe(hub.commit)
    expect((await readdir(repo("blobs"))).sort()).toEqual(
      ["config.json", "tokenizer.json", MODEL].map((file) => hub.etag(file)).sort(),
    )
  })

  test("downloadModel asks for no file that is there", async () => {
    await download()
    hub.log.length = 0
    await expectModel(await download())
    expect(hub.fileRequests).toEqual([])
    expect(hub.log.length).toBe(1)
  })

  test("downloadModel asks nothing at all for a full commit hash that is there", async () => {
    await download({ revision: hub.commit })
    hub.log.length = 0
    await expectModel(await download({ revision: hub.commit }))
    expect(hub.log).toEqual([])
  })

  test("downloadModel uses a model that Python downloaded", async () => {
    for (const file of ["config.json", "tokenizer.json", MODEL]) {
      await mkdir(repo("blobs"), { recursive: true })
      await mkdir(repo("snapshots", hub.commit), { recursive: true })
      await writeFile(repo("blobs", hub.etag(file)), hub.files.get(file)!)
      await symlink(`../../blobs/${hub.etag(file)}`, repo("snapshots", hub.commit, file))
    }
    await expectModel(await download())
    expect(hub.fileRequests).toEqual([])
  })

  test("downloadModel uses blobs without a snapshot, and a Hub that does not name the files", async () => {
    hub.siblings = false
    await download()
    await rm(repo("snapshots"), { recursive: true })
    hub.log.length = 0
    await expectModel(await download())
    expect(hub.fileRequests).toEqual([])
  })

  test("downloadModel replaces dangling links and blobs of a wrong size", async () => {
    const snapshot = await download()
    await unlink(repo("blobs", hub.etag("config.json")))
    await truncate(repo("blobs", hub.etag(MODEL)), 10)
    await expectModel(await download())
    expect((await stat(join(snapshot, "config.json"))).size).toBe(hub.files.get("config.json")!.length)
  })

  test("downloadModel brings only what a new commit changes", async () => {
    await download()
    const before = hub.commit
    hub.commit = "2".repeat(40)
    hub.files.set("config.json", Buffer.from('{"model_type": "gemma3"}\n'))
    hub.log.length = 0
    await expectModel(await download())
    expect(hub.fileRequests.map(({ path }) => path)).toEqual([`/${hub.id}/resolve/${hub.commit}/config.json`])
    expect(await readFile(repo("refs", "main"), "utf8")).toBe(hub.commit)
    expect((await readdir(repo("snapshots"))).sort()).toEqual([before, hub.commit])
  })

  test("downloadModel brings the shards that the index names", async () => {
    const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    hub.files.delete(MODEL)
    hub.files.set("model-00009-of-00009.safetensors", noise(100, 5))
    for (const [i, shard] of shards.entries()) hub.files.set(shard, noise(50_000, 10 + i))
    const index = { weight_map: { a: shards[0], b: shards[1], c: shards[0] } }
    hub.files.set("model.safetensors.index.json", Buffer.from(JSON.stringify(index)))
    const snapshot = await download()
    const expected = ["config.json", ...shards, "model.safetensors.index.json", "tokenizer.json"]
    expect(await readdir(snapshot)).toEqual(expected)
    hub.log.length = 0
    await download()
    expect(hub.fileRequests).toEqual([])
    await unlink(join(snapshot, shards[1]!))
    hub.goOffline()
    await expectHubError(download(), "network")
  })

  test("downloadModel refuses an index whose shard leaves the folder or is not there", async () => {
    hub.files.delete(MODEL)
    for (const shard of ["../../../evil.safetensors", "model-00001-of-00001.safetensors"]) {
      const index = { weight_map: { a: shard } }
      hub.files.set("model.safetensors.index.json", Buffer.from(JSON.stringify(index)))
      expect((await errorOf(download())).message).toContain(shard)
    }
  })

  test("downloadModel takes cache, endpoint and token from the environment", async () => {
    vi.stubEnv("HF_ENDPOINT", `${hub.endpoint}/`)
    vi.stubEnv("HF_TOKEN", "secret")
    const home = join(folder, "home")
    const snapshot = await downloadModel(hub.id)
    expect(snapshot.startsWith(join(home, "hub", "models--google--gemma-test", "snapshots"))).toBe(true)
    expect(hub.log.filter(({ server }) => server === "hub").every(({ token }) => token === "Bearer secret")).toBe(true)
    vi.stubEnv("HF_TOKEN", "")
    await writeFile(join(home, "token"), "stored\n")
    vi.stubEnv("HF_HUB_CACHE", join(folder, "other"))
    hub.log.length = 0
    expect((await downloadModel(hub.id)).startsWith(join(folder, "other"))).toBe(true)
    expect(hub.log[0]!.token).toBe("Bearer stored")
  })

  test("downloadModel gives the token to the Hub alone, not to the storage it redirects to", async () => {
    await download({ token: "secret" })
    const cdn = hub.log.filter(({ server }) => server === "cdn")
    expect(cdn.length).toBe(1)
    expect(cdn.every(({ token }) => token === undefined)).toBe(true)
  })
})

describe("downloadModel, without the network", () => {
  test("downloadModel uses a cached snapshot", async () => {
    await download()
    hub.goOffline()
    await expectModel(await download())
  })

  test("downloadModel uses a cached snapshot when access is withdrawn or the Hub fails", async () => {
    await download()
    hub.access = { status: 403, code: "GatedRepo" }
    await expectModel(await download())
    hub.access = { status: 503 }
    await expectModel(await download())
  })

  test("downloadModel asks nothing under HF_HUB_OFFLINE", async () => {
    vi.stubEnv("HF_HUB_OFFLINE", "1")
    await expectHubError(download(), "network", hub.id, "HF_HUB_OFFLINE", cacheDir)
    vi.stubEnv("HF_HUB_OFFLINE", "")
    await download()
    vi.stubEnv("HF_HUB_OFFLINE", "1")
    hub.log.length = 0
    await expectModel(await download())
    expect(hub.log).toEqual([])
  })

  test("downloadModel names the host and the cause when nothing is cached", async () => {
    const { endpoint } = hub
    const { host } = new URL(endpoint)
    hub.goOffline()
    await expectHubError(download(), "network", hub.id, host, "(")
    await hub[Symbol.asyncDispose]()
    await expectHubError(download({ endpoint }), "network", hub.id, host, "ECONNREFUSED")
    await hub.start()
  })

  test("downloadModel does not take half a snapshot for a model", async () => {
    hub.fail(MODEL, ...Array.from({ length: 9 }, () => ({ drop: 1000 })))
    await errorOf(download())
    hub.goOffline()
    await expectHubError(download(), "network")
  })
})

describe("downloadModel, refusals", () => {
  test("downloadModel says how to get at a gated model", async () => {
    hub.access = { status: 401, code: "GatedRepo" }
    hub.filesOnly = true
    const page = `${hub.endpoint}/${hub.id}`
    const message = `${hub.id}: access is gated; accept the licence at ${page} and set HF_TOKEN`
    expect((await errorOf(download())).message).toBe(message)
    hub.access = { status: 403, code: "GatedRepo" }
    await expectHubError(download({ token: "t" }), "access", "this token has none", page)
  })

  test("downloadModel says that a model is not there, or private", async () => {
    hub.id = "google/other"
    const other = downloadModel("google/gemma-test", { endpoint: hub.endpoint, cacheDir })
    await expectHubError(other, "missing", "google/gemma-test: not found", "HF_TOKEN", "local folder")
    const withToken = downloadModel("google/gemma-test", { endpoint: hub.endpoint, cacheDir, token: "t" })
    await expectHubError(withToken, "missing", "this token cannot see it")
    hub.access = { status: 404, code: "RepoNotFound" }
    await expectHubError(download(), "missing", "not found")
  })

  test("downloadModel names a refused token, a missing revision and a forbidden repository", async () => {
    hub.access = { status: 401, message: "Invalid credentials in Authorization header" }
    await expectHubError(download({ token: "t" }), "access", "token is refused", `${hub.endpoint}/settings/tokens`)
    hub.access = { status: 403, message: "not for you" }
    await expectHubError(download(), "access", "not for you", "set HF_TOKEN")
    hub.access = undefined
    await expectHubError(download({ revision: "v9" }), "missing", "revision is v9")
  })

  test("downloadModel asks each question once when the answer is final", async () => {
    hub.access = { status: 401, code: "RepoNotFound" }
    await errorOf(download())
    expect(hub.log.length).toBe(1)
  })

  test("downloadModel says what a repository without safetensors has", async () => {
    hub.files.delete(MODEL)
    await expectHubError(download(), "unsupported", "weights are pytorch_model.bin, expected model.safetensors")
    hub.files.delete("pytorch_model.bin")
    await expectHubError(download(), "unsupported", "files are config.json, tokenizer.json, README.md")
    expect(hub.fileRequests).toEqual([])
  })

  test("downloadModel says what a repository without config.json has", async () => {
    hub.files.delete("config.json")
    await expectHubError(download(), "unsupported", "config.json is missing")
  })

  test("downloadModel compares the free space with the need before it starts", async () => {
    const list = vi.fn(async (input: string | URL | Request, init?: RequestInit) => {
      const response = await fetch(input, init)
      if (!String(input).includes("/tree/")) return response
      const tree = (await response.json()) as { lfs?: { size: number } }[]
      for (const file of tree) if (file.lfs) file.lfs.size = 5e15
      return Response.json(tree)
    })
    await expectHubError(download({ fetch: list }), "space", "needs 5.0 PB", "free")
    expect(hub.fileRequests).toEqual([])
  })

  test.each(["", "a/b/c", "../x", "/abs", "./x", "a//b", "a b", "x.git", "a/..", "-a/b", "C:\\x", "a/b?c"])(
    "downloadModel throws a RangeError for the id %j",
    async (id) => {
      expect(await errorOf(downloadModel(id, { endpoint: hub.endpoint, cacheDir }))).toBeInstanceOf(RangeError)
      expect(hub.log).toEqual([])
    },
  )

  test("downloadModel throws a RangeError for a revision or endpoint that cannot be", async () => {
    expect(await errorOf(download({ revision: "../../x" }))).toBeInstanceOf(RangeError)
    expect(await errorOf(download({ endpoint: "ftp://x" }))).toBeInstanceOf(RangeError)
  })
})

describe("downloadModel, progress", () => {
  test("downloadModel reports all files together, resumed bytes included", async () => {
    hub.fail(MODEL, { drop: 200_000 })
    await errorOf(download({ patience: { attempts: 1 } }))
    const kept = (await stat(repo("blobs", `${hub.etag(MODEL)}.incomplete`))).size
    const small = hub.files.get("config.json")!.length + hub.files.get("tokenizer.json")!.length
    const seen: DownloadProgress[] = []
    hub.fail(MODEL, { slow: 30 })
    await download({ onProgress: (progress) => seen.push(progress) })
    expect(new Set(seen.map(({ total }) => total))).toEqual(new Set([SIZE + small]))
    expect(seen.map(({ loaded }) => loaded)).toEqual(seen.map(({ loaded }) => loaded).sort((a, b) => a - b))
    expect(seen.find(({ file }) => file === MODEL)?.loaded).toBe(small + kept)
    expect(seen.at(-1)?.loaded).toBe(SIZE + small)
    expect(seen.at(-1)?.bytesPerSecond).toBeGreaterThan(0)
    expect(seen.at(-1)?.bytesPerSecond).toBeLessThan((SIZE - kept) * 50)
    expect(seen.at(-1)?.secondsLeft).toBe(0)
  })
})
