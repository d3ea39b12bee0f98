import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, type LoadOptions, load, type PrefixStore, tune } from "../src/index.ts"
import type { Folder } from "../src/model/source.ts"
import { answer, randomTokens } from "./helpers/answer.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture } from "./helpers/golden.ts"
import { type MemoryPrefixes, memoryPrefixes } from "./helpers/prefix_store.ts"
import { random, randomCheckpoint } from "./helpers/random_checkpoint.ts"

const device = testDeviceKind()
const STORYTELLER = fileURLToPath(new URL("../weights/storyteller", import.meta.url))
const LAYERS = ["sliding_attention", "full_attention"]
const GEMMA = { max_position_embeddings: 1024, sliding_window: 24, layer_types: LAYERS }
const IDS = randomTokens(300, 1, 96)
/** Copies of keys and values round nothing; the tokens behind them go through in chunks of other lengths. */
const TOLERANCE = { absolute: 2e-4 }

const open: LanguageModel[] = []
const reasons: string[] = []
let folder: Folder
/** All others are on its device, which has compiled what they need. */
let base: LanguageModel

beforeAll(async () => {
  folder = await randomCheckpoint(GEMMA)
  base = await load(folder, { device, context: 600 })
})
afterAll(() => base?.dispose())
afterEach(async () => {
  for (const lm of open.splice(0)) await lm.dispose()
  reasons.length = 0
})

async function model(
  store: string | PrefixStore | undefined,
  { location = folder, maxBytes, ...options }: LoadOptions & { location?: Folder | string; maxBytes?: number } = {},
): Promise<LanguageModel> {
  const prefixCache = store && { store, maxBytes, onSkip: (reason: string) => reasons.push(reason) }
  const lm = await load(location, { beside: base, context: 600, prefixCache, ...options })
  open.push(lm)
  return lm
}

/** Has something else go through the cache, so that nothing is known from there. */
const clear = (lm: LanguageModel) => lm.logits([1, 1, 1])

describe("a saved prefix", () => {
  test("is gone on from by a model with another context and chunk, as if it had computed it", async () => {
    const store = memoryPrefixes()
    const first = await answer(await model(store), IDS, 20)
    expect(store.files.size).toBe(1)
    for (const options of [{}, { context: 330, chunk: 16 }, { context: 1024, chunk: 200 }]) {
      const lm = await model(store, options)
      const again = await answer(lm, IDS, 20)
      expect(again.computed).toBe(0)
      expect(again.tokens).toEqual(first.tokens)
      expectClose(again.logprobs, first.logprobs, TOLERANCE, { what: "log-probabilities" })
    }
    expect(reasons).toEqual([])
    expect(store.files.size).toBe(1)
  })

  test("serves another question about the same text", async () => {
    const store = memoryPrefixes()
    await answer(await model(store), IDS, 20)
    const other = [...IDS.slice(0, 270), ...randomTokens(40, 2, 96)]
    const expected = await answer(await model(undefined), other, 20)
    const found = await answer(await model(store), other, 20)
    expect(found.computed).toBe(39)
    expect(found.tokens).toEqual(expected.tokens)
    expectClose(found.logprobs, expected.logprobs, TOLERANCE, { what: "log-probabilities" })
  })

  test("of a recurrence is its state", async () => {
    const store = memoryPrefixes()
    const location = fixture("goldens/tiny-hgrnbit")
    const lm = await model(store, { location })
    const ids = randomTokens(300, 3, lm.config.vocabSize)
    const first = await answer(lm, ids, 20)
    const again = await answer(await model(store, { location }), [...ids, 5], 1)
    expect(again.computed).toBe(1)
    expect((await answer(await model(store, { location }), ids, 20)).logprobs).toEqual(first.logprobs)
    expect((await answer(await model(store, { location, actQuant: "none" }), ids, 20)).computed).toBe(299)
  })

  test("grows with its conversation, by files of 256 tokens more at least", async () => {
    const store = memoryPrefixes()
    const lm = await model(store)
    await answer(lm, IDS.slice(0, 200), 2)
    expect(store.files.size).toBe(0)
    await answer(lm, IDS.slice(0, 258), 2)
    expect(store.files.size).toBe(1)
    await answer(lm, IDS, 2)
    expect(store.files.size).toBe(1)
    await answer(lm, [...IDS, ...IDS.slice(0, 220)], 2)
    expect(store.files.size).toBe(2)
    expect(reasons).toEqual([])
  })

  test("is another one's for other weights of the same shapes, and for adapters", async () => {
    const store = memoryPrefixes()
    await answer(await model(store), IDS, 2)
    const other = await randomCheckpoint(GEMMA, 2)
    expect((await answer(await model(store, { location: other }), IDS, 2)).computed).toBe(299)
    const location = fixture("goldens/tiny-gemma3")
    const lm = await model(store, { location })
    const ids = randomTokens(300, 4, lm.config.vocabSize)
    const plain = await answer(lm, ids, 2)
    await lm.loadAdapter(fixture("goldens/tiny-gemma3/adapter"))
    const adapted = await answer(lm, ids, 2)
    expect(adapted.computed).toBe(299)
    await lm.setAdapters([])
    expect(await answer(lm, ids, 2)).toEqual({ ...plain, computed: 0 })
    await lm.setAdapters(["default"])
    expect(await answer(lm, ids, 2)).toEqual({ ...adapted, computed: 0 })
    expect(reasons).toEqual([])
  })

  test("is neither read nor written once weights were trained", async () => {
    const store = memoryPrefixes()
    const lm = await model(store, { location: STORYTELLER })
    const ids = randomTokens(300, 5, lm.config.vocabSize)
    await answer(lm, ids, 2)
    const options = { batch: 1, context: 16, rate: 1e-2, warmup: 0, heldOut: 0, rank: 4, seed: 3, steps: 1 }
    for await (const _ of tune(lm, [{ text: "One day." }], options));
    expect((await answer(lm, ids, 2)).computed).toBe(299)
    expect(store.files.size).toBe(1)
  })
})

describe("a damaged file", () => {
  let store: MemoryPrefixes
  let lm: LanguageModel
  let whole: readonly [name: string, bytes: Uint8Array]
  let expected: Awaited<ReturnType<typeof answer>>

  async function expectRefused(bytes: Uint8Array): Promise<void> {
    store.files.clear()
    store.files.set(whole[0], bytes)
    await clear(lm)
    const got = await answer(lm, IDS, 3)
    expect(got).toEqual(expected)
  }

  async function begin(): Promise<void> {
    store = memoryPrefixes()
    lm = await model(store)
    expected = await answer(lm, IDS, 3)
    whole = [...store.files][0]!
  }

  test("is passed over with a reason, wherever one byte is another", async () => {
    await begin()
    const next = random(3)
    const header = 8 + Number(new DataView(whole[1].buffer).getBigUint64(0, true))
    for (let i = 1; i <= 12; i++) {
      const bytes = whole[1].slice()
      bytes[Math.floor(next() * (i % 2 ? header : bytes.length))]! ^= 1 << Math.floor(next() * 8)
      await expectRefused(bytes)
      expect(reasons.length).toBe(i)
    }
    for (const reason of reasons) expect(reason).toMatch(/\.safetensors: .* expected /)
  })

  test("is passed over where it is cut short, empty or something else", async () => {
    await begin()
    const [, bytes] = whole
    for (const each of [bytes.slice(0, -1), bytes.slice(0, 100), bytes.slice(0, 4), new Uint8Array(0)]) {
      const before = reasons.length
      await expectRefused(each)
      expect(reasons.length).toBe(before + 1)
    }
    await expectRefused(new Uint8Array(await readFile(fixture("goldens/tiny-gemma3/model.safetensors"))))
    expect(reasons.at(-1)).toMatch(/format is "pt", expected gemlet-prefix/)
  })

  test("is removed, and what is too long for the context is kept", async () => {
    await begin()
    const [name, bytes] = whole
    store.files.set(name, bytes.slice(0, -1))
    await clear(lm)
    const controller = new AbortController()
    const stopped = (async () => {
      for await (const _ of lm.generate(IDS, { signal: controller.signal, ignoreEos: true })) controller.abort()
    })()
    await expect(stopped).rejects.toThrow(/abort/i) // an answer that is stopped saves nothing
    expect(store.files.get(name)).toBeUndefined()
    store.files.set(name, bytes)
    const small = await model(store, { context: 280 })
    expect((await answer(small, IDS.slice(0, 270), 2)).computed).toBe(269)
    expect(reasons.at(-1)).toMatch(/tokens are 299, expected at most the context of 280/)
    expect(store.files.get(name)).toBe(bytes)
  })
})

describe("a store", () => {
  test("that fails at everything costs no answer", async () => {
    const fail = () => Promise.reject(new RangeError("store: is broken, expected one that works"))
    const store = { name: "broken", open: fail, write: fail, stored: fail, touch: fail, remove: fail, close: fail }
    const lm = await model(store)
    const expected = await answer(await model(undefined), IDS, 3)
    expect(await answer(lm, IDS, 3)).toEqual(expected)
    expect(reasons.length).toBeGreaterThan(1)
    const readOnly: PrefixStore = { ...memoryPrefixes(), touch: fail, remove: fail }
    await answer(await model(readOnly), IDS, 3)
    expect(await answer(await model(readOnly), IDS, 3)).toMatchObject({ computed: 0, tokens: expected.tokens })
  })

  test("gives up what was not used for longest when it is full, and nothing else that lies there", async () => {
    const store = memoryPrefixes()
    store.files.set("notes.txt", new Uint8Array(10 ** 6))
    const lm = await model(store)
    const prompts = [1, 2, 3].map((seed) => randomTokens(300, seed, 96))
    const size = async (prompt: readonly number[]) => {
      await answer(lm, prompt, 2)
      return [...store.files.values()].at(-1)!.byteLength
    }
    const bytes = await size(prompts[0]!)
    expect(await size(prompts[1]!)).toBe(bytes)
    const small = await model(store, { maxBytes: Math.floor(2.5 * bytes) })
    expect((await answer(small, prompts[0]!, 2)).computed).toBe(0) // and so was used after the other
    await answer(small, prompts[2]!, 2)
    const fresh = await model(store)
    const computed = []
    for (const prompt of prompts) computed.push((await answer(fresh, prompt, 2)).computed)
    expect(computed).toEqual([0, 299, 0])
    expect(store.files.has("notes.txt")).toBe(true)
    const none = await model(memoryPrefixes(), { maxBytes: 1000 })
    await answer(none, prompts[0]!, 2)
    expect(reasons.at(-1)).toMatch(/prefix: is \d+ bytes, expected at most 1000/)
  })

  test("is a folder where a path is given, which a later model finds", async () => {
    const directory = join(await mkdtemp(join(tmpdir(), "gemlet-prefixes-")), "made", "when needed")
    try {
      const first = await answer(await model(directory), IDS, 3)
      expect((await readdir(directory)).every((name) => name.endsWith(".safetensors"))).toBe(true)
      expect(await answer(await model(directory), IDS, 3)).toEqual({ ...first, computed: 0 })
      expect(reasons).toEqual([])
    } finally {
      await rm(join(directory, "..", ".."), { recursive: true })
    }
  })

  test("that cannot be is refused before anything is loaded", async () => {
    const directory = await mkdtemp(join(tmpdir(), "gemlet-prefixes-"))
    await writeFile(join(directory, "file"), "")
    try {
      await expect(model(join(directory, "file"))).rejects.toThrow(/file: is a file, expected a folder for prefixes/)
      await expect(load(folder, { device, prefixCache: "" })).rejects.toThrow(/prefixCache is "", expected a folder/)
      await expect(model(directory, { maxBytes: -1 })).rejects.toThrow(/prefixCache.maxBytes is -1, expected/)
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})
