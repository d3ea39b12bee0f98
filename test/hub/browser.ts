import { afterEach, beforeEach, expect, vi } from "vitest"
import type { ModelDownloadOptions, ModelStoreOptions } from "../../src/platform/web_model_options.ts"
import { type ModelStore, modelStore } from "../../src/platform/web_models.ts"
import { FakeNavigator } from "./browser_origin.ts"
import { FakeHub } from "./fake_hub.ts"
import { MODEL, noise } from "./workspace.ts"

/** More than one piece, and more than one write. */
export const SIZE = 2_500_000
export const PIECE = 2 ** 20
export const NAMES = ["config.json", "tokenizer.json", MODEL]

export let hub: FakeHub
export let browser: FakeNavigator

/** A Hub with a small model and a browser that keeps nothing yet, for each test of a file. */
export function useBrowser(): void {
  beforeEach(async () => {
    hub = await new FakeHub().start()
    hub.files.set("config.json", Buffer.from('{"model_type": "gemma3_text"}\n'))
    hub.files.set("tokenizer.json", Buffer.from('{"model": {}}\n'))
    hub.files.set("README.md", Buffer.from("# not ours\n"))
    hub.files.set(MODEL, noise(SIZE, 1))
    useNavigator(new FakeNavigator())
  })

  afterEach(async () => {
    vi.unstubAllGlobals()
    await hub[Symbol.asyncDispose]()
  })
}

export function useNavigator(navigator: FakeNavigator): void {
  browser = navigator
  vi.stubGlobal("navigator", navigator)
}

/** A tab's store. */
export function store(options: ModelStoreOptions = {}): ModelStore {
  const patience = { attempts: 4, pause: 5, longestPause: 50, stall: 1000, ...options.patience }
  return modelStore({ endpoint: hub.endpoint, pieceBytes: PIECE, ...options, patience })
}

export function download(options: ModelDownloadOptions = {}): ReturnType<ModelStore["download"]> {
  return store().download(hub.id, options)
}

/** Stops a download when so many bytes of the weights are received, and gives how many are kept of them. */
export async function interrupted(bytes: number): Promise<number> {
  const stop = new AbortController()
  let received = 0
  hub.fail(MODEL, { stall: bytes })
  const counted = async (input: string | URL | Request, init?: RequestInit) => {
    const response = await fetch(input, init)
    if (!response.url.endsWith(MODEL)) return response
    const count = (chunk: Uint8Array, to: TransformStreamDefaultController<Uint8Array>) => {
      received += chunk.length
      to.enqueue(chunk)
    }
    const body = response.body!.pipeThrough(new TransformStream({ transform: count }, undefined, { highWaterMark: 0 }))
    return new Response(body, response)
  }
  const stopped = store({ fetch: counted }).download(hub.id, { signal: stop.signal })
  const all = vi.waitFor(() => expect(received).toBe(bytes), { timeout: 10_000, interval: 10 })
  void all.then(() => stop.abort(new Error("enough")))
  await expect(stopped).rejects.toThrow("enough")
  hub.log.length = 0
  return (await content(MODEL)).length
}

/** The bytes of a file that lie in the store, by its hash. */
export async function content(file: string, id = hub.id): Promise<Buffer> {
  const models = await browser.root.getDirectoryHandle("gemlet-models")
  const blobs = await (await models.getDirectoryHandle(encodeURIComponent(id))).getDirectoryHandle("blobs")
  const blob = await blobs.getDirectoryHandle(hub.etag(file))
  const pieces: Uint8Array[] = []
  while (blob.children.has(String(pieces.length))) pieces.push((await blob.getFileHandle(String(pieces.length))).bytes)
  return Buffer.concat(pieces)
}

/** Holds what the store opens to what the Hub has. */
export async function expectModel(names: readonly string[] = NAMES): Promise<void> {
  const folder = await store().open(hub.id)
  expect(await folder.list?.()).toEqual(names)
  for (const name of names) {
    const source = await folder.open(name)
    const bytes = Buffer.from(await source!.slice(0, source!.byteLength))
    expect(bytes.equals(hub.files.get(name)!)).toBe(true)
  }
  expect(browser.root.paths().filter((path) => path.endsWith("pending.json"))).toEqual([])
}

/** The ranges that the storage was asked for. */
export function ranges(): (string | undefined)[] {
  return hub.log.filter(({ server }) => server === "cdn").map(({ range }) => range)
}
