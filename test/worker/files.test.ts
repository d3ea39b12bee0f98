import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest"
import {
  type Folder,
  memoryFolder,
  memoryStore,
  open,
  type PrefixStore,
  parameterCounts,
  quantize,
} from "../../src/index.ts"
import type { WorkerLanguageModel } from "../../src/worker/worker_model.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { fixture } from "../helpers/golden.ts"
import { connect, connectForTest, drain, spied } from "./helpers.ts"

const device = testDeviceKind()
const FOLDER = fixture("goldens/tiny-gemma3")
const NAMES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]

const { engine } = connect()
let base: WorkerLanguageModel // the others lie beside it, so that shaders compile once

beforeAll(async () => {
  base = await engine.load(FOLDER, { device, context: 32 })
})
afterAll(() => engine.terminate())

async function files(): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const found = new Map<string, Uint8Array<ArrayBuffer>>()
  for (const name of NAMES) {
    const bytes = await readFile(join(FOLDER, name)).catch(() => undefined)
    if (bytes) found.set(name, Uint8Array.from(bytes))
  }
  return found
}

test("load takes files that a user picked, with the folder that they share", async () => {
  const picked = [...(await files())].map(([name, bytes]) => {
    return Object.defineProperty(new File([bytes], name), "webkitRelativePath", { value: `picked/${name}` })
  })
  await using lm = await engine.load(picked, { beside: base, context: 32 })
  expect(lm.name).toBe("picked")
  expect(lm.memory.weights).toBe(base.memory.weights)
})

test("load reads a folder of the page's own, and lets go of it when the model is disposed", async () => {
  let closed = 0
  const folder: Folder = { ...memoryFolder("mine", await files()), close: async () => void closed++ }
  const lm = await engine.load(folder, { beside: base, context: 32 })
  expect(lm.name).toBe("mine")
  expect(await lm.logits([2, 3, 4])).toEqual(await base.logits([2, 3, 4]))
  await lm.dispose()
  expect(closed).toBe(1)
})

test("open tells what a checkpoint is, and what loading it would take", async () => {
  const checkpoint = await engine.open(FOLDER)
  const direct = await open(FOLDER)
  expect(checkpoint.config).toEqual(direct.config)
  expect(checkpoint.files).toEqual(direct.files)
  expect(parameterCounts(checkpoint.config)).toEqual(parameterCounts(direct.config))
  const bytes = await checkpoint.loadBytes({ context: 32 })
  expect(base.memory.weights).toBe(bytes.weights)
  await expect(checkpoint.loadBytes({ context: 1 })).rejects.toThrow(RangeError)
  await checkpoint.close()
  await expect(checkpoint.loadBytes()).rejects.toThrow(/checkpoint is closed/)
  await direct.close()
})

test("quantize and merge write into a store of the page's, or a folder by its name, what they write elsewhere", async () => {
  const directory = await mkdtemp(join(tmpdir(), "gemlet-worker-"))
  onTestFinished(() => rm(directory, { recursive: true }))
  const [own, expected] = [memoryStore(), memoryStore()]
  const weights: string[] = []
  const onWeight = (name: string) => weights.push(name)
  const result = await engine.quantize(FOLDER, own, { dtype: "q8", device, onWeight })
  expect(result).toEqual(await quantize(FOLDER, expected, { dtype: "q8", device }))
  expect(weights).toEqual(result.weights)
  expect(own.files).toEqual(expected.files)
  await engine.merge(own, [], directory)
  expect(new Uint8Array(await readFile(join(directory, "config.json")))).toEqual(own.files.get("config.json"))
})

test("a store of the page's that fails, fails the call with its error", async () => {
  const full = { ...memoryStore("full"), write: () => Promise.reject(new RangeError("full: no room")) }
  await expect(engine.quantize(FOLDER, full, { dtype: "q8", device })).rejects.toThrow(new RangeError("full: no room"))
  const controller = new AbortController()
  const stopping = { dtype: "q8", device, signal: controller.signal, onWeight: () => controller.abort() } as const
  const store = memoryStore()
  const error: unknown = await engine.quantize(FOLDER, store, stopping).catch((error: unknown) => error)
  expect(error).toBe(controller.signal.reason)
  expect(store.files.size).toBe(0)
})

test("prefixes go into a store of the page's, and why one is not used is told to the page", async () => {
  const store = memoryStore("prefixes")
  const prefixes: PrefixStore = {
    ...store,
    stored: async () => [...store.files].map(([name, { byteLength }]) => ({ name, byteLength, usedAt: 0 })),
    touch: async () => {},
    remove: async () => {},
  }
  const prompt = Array.from({ length: 300 }, (_, i) => 3 + ((i * 7) % 50))
  const reasons: string[] = []
  const prefixCache = { store: prefixes, onSkip: (reason: string) => reasons.push(reason) }
  const answers: { tokens: number[]; reused: number }[] = []
  for (let i = 0; i < 2; i++) {
    await using lm = await engine.load(FOLDER, { beside: base, context: 320, prefixCache })
    const answer = lm.generate(prompt, { temperature: 0, maxTokens: 4, ignoreEos: true })
    await drain(answer)
    answers.push({ tokens: answer.tokens, reused: answer.timings!.reusedTokens })
    expect(store.files.size).toBeGreaterThan(0)
    if (i === 0) continue
    expect(reasons).toEqual([])
    prefixes.write = () => Promise.reject(new Error("disk is full"))
    await drain(lm.generate(prompt.toReversed(), { maxTokens: 1 }))
    expect(reasons.join()).toContain("disk is full")
  }
  expect(answers).toEqual([
    { tokens: answers[0]!.tokens, reused: 0 },
    { tokens: answers[0]!.tokens, reused: 299 },
  ])
})

test("a page that is gone leaves no model behind", async () => {
  const { part, models } = spied()
  const { engine, port } = connectForTest(part)
  const lm = await engine.load(FOLDER, { device, context: 64 })
  const answer = lm.generate([2, 3], { maxTokens: 50, ignoreEos: true })[Symbol.asyncIterator]()
  await answer.next()
  engine.terminate()
  await expect(answer.next().then(() => answer.next())).rejects.toMatchObject({ kind: "terminated" })
  await expect(lm.score([2, 3])).rejects.toMatchObject({ name: "WorkerError" })
  await lm.dispose()
  await expect.poll(() => models[0]!.memory.total).toBe(0)
  port.close()
})
