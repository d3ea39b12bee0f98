import { mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, vi } from "vitest"
import { type DownloadOptions, downloadModel } from "../../src/hub/download.ts"
import { HubError, type HubErrorCode } from "../../src/hub/errors.ts"
import { FakeHub } from "./fake_hub.ts"

export const MODEL = "model.safetensors"
export const SIZE = 300_000
const ENVIRONMENT = [
  ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_ENDPOINT", "XDG_CACHE_HOME"],
  ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"],
].flat()

export let hub: FakeHub
export let folder: string
export let cacheDir: string

/** A fake Hub with a small model, an empty cache and a clean environment for each test of a file. */
export function useHub(): void {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "gemlet-hub-"))
    cacheDir = join(folder, "cache")
    for (const name of ENVIRONMENT) vi.stubEnv(name, undefined)
    vi.stubEnv("HF_HOME", join(folder, "home"))
    hub = await new FakeHub().start()
    hub.files.set("config.json", Buffer.from('{"model_type": "gemma3_text"}\n'))
    hub.files.set("tokenizer.json", Buffer.from('{"model": {}}\n'))
    hub.files.set("README.md", Buffer.from("# not ours\n"))
    hub.files.set("pytorch_model.bin", noise(1000, 9))
    hub.files.set(MODEL, noise(SIZE, 1))
  })

  afterEach(async () => {
    vi.unstubAllEnvs()
    await hub[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })
}

export function download(options: DownloadOptions = {}): Promise<string> {
  const patience = { attempts: 4, pause: 5, longestPause: 50, stall: 1000, staleLock: 400, ...options.patience }
  return downloadModel(hub.id, { endpoint: hub.endpoint, cacheDir, ...options, patience })
}

export function repo(...parts: string[]): string {
  return join(cacheDir, `models--${hub.id.replace("/", "--")}`, ...parts)
}

export async function expectModel(snapshot: string): Promise<void> {
  expect(snapshot).toBe(repo("snapshots", hub.commit))
  expect(await readdir(snapshot)).toEqual(["config.json", MODEL, "tokenizer.json"])
  expect((await readFile(join(snapshot, MODEL))).equals(hub.files.get(MODEL)!)).toBe(true)
  expect(await unfinished()).toEqual([])
}

export async function unfinished(): Promise<string[]> {
  const names = await readdir(cacheDir, { recursive: true }).catch(() => [])
  return names.filter((name) => /\.incomplete$|\.lock$|[0-9a-f]{8}-[0-9a-f]{4}/.test(name))
}

export async function errorOf(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => expect.unreachable("expected an error"),
    (error: Error) => error,
  )
}

export async function expectHubError(promise: Promise<unknown>, code: HubErrorCode, ...texts: string[]): Promise<void> {
  const error = await errorOf(promise)
  expect(error).toBeInstanceOf(HubError)
  expect((error as HubError).code).toBe(code)
  for (const text of texts) expect(error.message).toContain(text)
}

export function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}
