import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises"
import { hostname } from "node:os"
import { dirname, join, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import ts from "typescript"
import { describe, expect, test, vi } from "vitest"
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
  unfinished,
  useHub,
} from "./workspace.ts"

useHub()

describe("downloadModel, broken connections", () => {
  test("downloadModel continues a dropped file where it stopped", async () => {
    hub.fail(MODEL, { drop: 100_000 }, { drop: 50_000 })
    await expectModel(await download())
    const ranges = hub.log.filter(({ server }) => server === "cdn").map(({ range }) => range)
    expect(ranges.length).toBe(3)
    expect(ranges[0]).toBeUndefined()
    for (const range of ranges.slice(1)) expect(range).toMatch(/^bytes=[1-9]\d*-$/)
    expect(hub.sent(MODEL)).toBeLessThan(SIZE + 40_000)
  })

  test("downloadModel continues in the next run", async () => {
    hub.fail(MODEL, { drop: 200_000 })
    await expectHubError(download({ patience: { attempts: 1 } }), "network", MODEL)
    const kept = (await stat(repo("blobs", `${hub.etag(MODEL)}.incomplete`))).size
    expect(kept).toBeGreaterThan(100_000)
    hub.log.length = 0
    await expectModel(await download())
    expect(hub.log.find(({ server }) => server === "cdn")?.range).toBe(`bytes=${kept}-`)
    expect(hub.sent(MODEL)).toBe(SIZE - kept)
  })

  test("downloadModel continues after its process was killed", async () => {
    hub.fail(MODEL, { slow: 40 })
    const script = `
      const { downloadModel } = await import(${JSON.stringify(await compile(join(folder, "compiled")))})
      await downloadModel(process.env.ID, { endpoint: process.env.ENDPOINT, cacheDir: process.env.CACHE })`
    const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
      env: { ...process.env, ID: hub.id, ENDPOINT: hub.endpoint, CACHE: cacheDir },
      stdio: ["ignore", "ignore", "inherit"],
    })
    const exit = once(child, "exit")
    const partial = repo("blobs", `${hub.etag(MODEL)}.incomplete`)
    await vi.waitFor(async () => expect((await stat(partial)).size).toBeGreaterThan(50_000), { timeout: 20_000 })
    child.kill("SIGKILL")
    await exit
    expect((await readdir(repo("snapshots", hub.commit))).includes(MODEL)).toBe(false)
    const kept = (await stat(partial)).size
    hub.log.length = 0
    await expectModel(await download())
    expect(hub.sent(MODEL)).toBe(SIZE - kept)
  })

  test("downloadModel starts over when the server ignores ranges", async () => {
    hub.fail(MODEL, { drop: 100_000 }, { ignoreRange: true })
    await expectModel(await download())
    expect(hub.sent(MODEL)).toBeGreaterThan(SIZE)
  })

  test("downloadModel continues after an answer that ends early", async () => {
    hub.fail(MODEL, { truncate: 1000 })
    await expectModel(await download())
    expect(hub.sent(MODEL)).toBe(SIZE)
  })

  test("downloadModel gives up on a server that always ends early, and says where", async () => {
    hub.fail(MODEL, ...Array.from({ length: 9 }, () => ({ drop: 0 })))
    await expectHubError(download(), "network", MODEL)
    expect(hub.log.filter(({ server }) => server === "cdn").length).toBe(4)
  })

  test("downloadModel leaves a stalled connection", async () => {
    hub.fail(MODEL, { stall: 100_000 })
    const start = performance.now()
    await expectModel(await download())
    expect(performance.now() - start).toBeLessThan(5000)
    expect(hub.sent(MODEL)).toBeLessThan(SIZE + 40_000)
  })

  test("downloadModel names a stall that does not end", async () => {
    hub.fail(MODEL, ...Array.from({ length: 9 }, () => ({ stall: 10 })))
    await expectHubError(download({ patience: { stall: 100 } }), "network", MODEL, "no data for 0.1 s")
  })

  test("downloadModel tries again after 500, 503 and a refused signed address", async () => {
    hub.fail("config.json", { status: 500 }, { status: 503 })
    hub.fail(`/revision/main`, { status: 502 })
    hub.fail(MODEL, { status: 403 })
    await expectModel(await download())
  })

  test("downloadModel gives up on a server that keeps failing", async () => {
    hub.fail("config.json", ...Array.from({ length: 9 }, () => ({ status: 500 })))
    await expectHubError(download(), "server", "config.json", "500")
    expect(hub.fileRequests.length).toBe(4)
  })

  test("downloadModel waits as long as a busy server asks", async () => {
    hub.fail("config.json", { status: 429, headers: { "retry-after": "1" } })
    const start = performance.now()
    await expectModel(await download({ patience: { longestPause: 2000 } }))
    expect(performance.now() - start).toBeGreaterThan(990)
  })

  test("downloadModel stops at once when told to, keeps what has arrived and goes on later", async () => {
    const stop = new AbortController()
    hub.fail(MODEL, { stall: 150_000, slow: 20 })
    const onProgress = ({ file, loaded }: DownloadProgress) => {
      if (file === MODEL && loaded > 50_000) setTimeout(() => stop.abort(new Error("enough")), 50)
    }
    const start = performance.now()
    const error = await errorOf(download({ signal: stop.signal, onProgress, patience: { stall: 20_000 } }))
    expect(error.message).toBe("enough")
    expect(performance.now() - start).toBeLessThan(5000)
    const kept = (await stat(repo("blobs", `${hub.etag(MODEL)}.incomplete`))).size
    expect(kept).toBeGreaterThan(0)
    hub.log.length = 0
    await expectModel(await download())
    expect(hub.sent(MODEL)).toBe(SIZE - kept)
  })

  test("downloadModel stops during a pause between attempts", async () => {
    hub.fail("config.json", ...Array.from({ length: 9 }, () => ({ status: 500 })))
    const signal = AbortSignal.timeout(200)
    const start = performance.now()
    const error = await errorOf(download({ signal, patience: { pause: 30_000, longestPause: 30_000 } }))
    expect(error.name).toBe("TimeoutError")
    expect(performance.now() - start).toBeLessThan(5000)
  })
})

describe("downloadModel, wrong bytes", () => {
  test("downloadModel receives a corrupt file once more", async () => {
    hub.fail(MODEL, { corrupt: 123_456 })
    await expectModel(await download())
    expect(hub.sent(MODEL)).toBe(2 * SIZE)
  })

  test.each([MODEL, "config.json"])("downloadModel gives no name to a %s that stays corrupt", async (file) => {
    hub.fail(file, ...Array.from({ length: 9 }, () => ({ corrupt: 7 })))
    const algorithm = file === MODEL ? "sha256" : "git-sha1"
    await expectHubError(download(), "corrupt", `${file}: ${algorithm} is `, `expected ${hub.etag(file)}`)
    expect(hub.fileRequests.filter(({ path }) => path.endsWith(file)).length).toBe(file === MODEL ? 4 : 2)
    const names = await readdir(repo(), { recursive: true })
    expect(names.filter((name) => name.includes(file) || name.includes(hub.etag(file)))).toEqual([])
    expect(await unfinished()).toEqual([])
  })

  test("downloadModel finds a corrupt byte in what an earlier run left", async () => {
    await mkdir(repo("blobs"), { recursive: true })
    const bytes = Buffer.from(hub.files.get(MODEL)!.subarray(0, 200_000))
    bytes[5]! ^= 1
    await writeFile(repo("blobs", `${hub.etag(MODEL)}.incomplete`), bytes)
    await expectModel(await download())
    expect(hub.sent(MODEL)).toBe(100_000 + SIZE)
  })

  test("downloadModel drops a partial file that is too long", async () => {
    await mkdir(repo("blobs"), { recursive: true })
    await writeFile(repo("blobs", `${hub.etag(MODEL)}.incomplete`), noise(SIZE + 1, 3))
    await expectModel(await download())
  })

  test("downloadModel verifies a partial file that is whole, without a request for it", async () => {
    await mkdir(repo("blobs"), { recursive: true })
    await writeFile(repo("blobs", `${hub.etag(MODEL)}.incomplete`), hub.files.get(MODEL)!)
    await expectModel(await download())
    expect(hub.sent(MODEL)).toBe(0)
  })

  test("downloadModel starts a file over that changed between attempts", async () => {
    const change = () => {
      hub.files.set(MODEL, noise(SIZE, 77))
      hub.commit = "3".repeat(40)
    }
    hub.fail(MODEL, { drop: 100_000, before: () => setTimeout(change, 10) })
    await expectHubError(download(), "missing", "revision")
    await expectModel2()
  })

  test("downloadModel asks again when the same commit serves another file", async () => {
    hub.fail(MODEL, { drop: 100_000, before: () => setTimeout(() => hub.files.set(MODEL, noise(SIZE - 5, 78)), 10) })
    await expectModel2()
  })

  async function expectModel2(): Promise<void> {
    const snapshot = await download()
    expect((await readFile(join(snapshot, MODEL))).equals(hub.files.get(MODEL)!)).toBe(true)
  }
})

describe("downloadModel, several at once", () => {
  test("downloadModel lets one of several transfer and the others wait", async () => {
    hub.fail(MODEL, { slow: 5 })
    const snapshots = await Promise.all([download(), download(), download()])
    for (const snapshot of snapshots) await expectModel(snapshot)
    expect(hub.sent(MODEL)).toBe(SIZE)
  })

  test("downloadModel takes over the lock of a process that is gone, or shows no life", async () => {
    const { pid } = spawn(process.execPath, ["--version"], { stdio: "ignore" })
    await vi.waitFor(() => expect(() => process.kill(pid!, 0)).toThrow(), { timeout: 10_000 })
    const locks = join(cacheDir, ".locks", "models--google--gemma-test")
    for (const holder of [JSON.stringify({ token: "t", pid, host: hostname() }), '{"token":"t","host":"other"}', ""]) {
      await rm(repo(), { recursive: true, force: true })
      await mkdir(locks, { recursive: true })
      const lock = join(locks, `${hub.etag(MODEL)}.gemlet.lock`)
      await writeFile(lock, holder)
      await utimes(lock, new Date(0), new Date(0))
      const start = performance.now()
      await expectModel(await download())
      expect(performance.now() - start).toBeLessThan(5000)
    }
  })
})

/** The sources as JavaScript in a folder of their own, for a process that can be killed. */
async function compile(to: string): Promise<URL> {
  const options = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    rewriteRelativeImportExtensions: true,
  }
  const names = (await readdir("src/hub")).map((name) => `hub/${name}`)
  for (const name of [...names, "model/gguf/find.ts", "model/source.ts", "model/url_source.ts"]) {
    const source = await readFile(join("src", name), "utf8")
    const { outputText } = ts.transpileModule(source, { fileName: name, compilerOptions: options })
    await mkdir(join(to, dirname(name)), { recursive: true })
    await writeFile(join(to, name.replace(/ts$/, "js")), outputText)
  }
  await writeFile(join(to, "package.json"), '{"type": "module"}')
  await symlink(resolve("node_modules"), join(to, "node_modules"), "junction")
  return pathToFileURL(join(to, "hub", "download.js"))
}
