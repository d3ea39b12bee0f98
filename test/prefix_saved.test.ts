import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, type LoadOptions, load, type PrefixStore } from "../src/index.ts"
import type { Folder } from "../src/model/source.ts"
import { internals } from "../src/session.ts"
import { answer, forgetPrompts, randomTokens } from "./helpers/answer.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture } from "./helpers/golden.ts"
import { memoryPrefixes } from "./helpers/prefix_store.ts"
import { random, randomCheckpoint } from "./helpers/random_checkpoint.ts"

const device = testDeviceKind()
const LAYERS = ["sliding_attention", "full_attention"]
const GEMMA = { max_position_embeddings: 1024, sliding_window: 24, layer_types: LAYERS }
const IDS = randomTokens(300, 1, 96)
/** Copies of keys and values round nothing; the tokens behind them go through in chunks of other lengths. */
const TOLERANCE = { absolute: 2e-4 }

const open: LanguageModel[] = []
const reasons: string[] = []
let folder: Folder
let lm: LanguageModel
/** Where `lm` saves now. */
let used: PrefixStore

beforeAll(async () => {
  folder = await randomCheckpoint(GEMMA)
  const store: PrefixStore = {
    name: "in use",
    open: (name) => used.open(name),
    write: (name, chunks) => used.write(name, chunks),
    stored: () => used.stored(),
    touch: (name) => used.touch(name),
    remove: (name) => used.remove(name),
  }
  lm = await load(folder, { device, context: 600, prefixCache: { store, onSkip } })
})
afterAll(() => lm?.dispose())
afterEach(async () => {
  for (const each of open.splice(0)) await each.dispose()
  reasons.length = 0
})

function onSkip(reason: string): void {
  reasons.push(reason)
}

/** Answers with what a store has and nothing that is known otherwise, as in another process: all of that ends here. */
async function answerFrom(store: PrefixStore, ids: readonly number[], maxTokens: number) {
  used = store
  forgetPrompts(lm)
  return answer(lm, ids, maxTokens)
}

/** Another model on the same device. */
async function model(
  store: string | PrefixStore,
  { location = folder, maxBytes, ...options }: LoadOptions & { location?: Folder | string; maxBytes?: number } = {},
): Promise<LanguageModel> {
  const prefixCache = { store, maxBytes, onSkip }
  const other = await load(location, { beside: lm, context: 600, prefixCache, ...options })
  open.push(other)
  return other
}

describe("a saved prefix", () => {
  test("is gone on from by a model with another context and chunk, as if it had computed it", async () => {
    const store = memoryPrefixes()
    const first = await answerFrom(store, IDS, 20)
    expect(store.files.size).toBe(1)
    expect(await answerFrom(store, IDS, 20)).toEqual({ ...first, computed: 0 })
    for (const options of [
      { context: 330, chunk: 16 },
      { context: 1024, chunk: 200 },
    ]) {
      const again = await answer(await model(store, options), IDS, 20)
      expect(again.computed).toBe(0)
      expect(again.tokens).toEqual(first.tokens)
      expectClose(again.logprobs, first.logprobs, TOLERANCE, { what: "log-probabilities" })
    }
    expect(reasons).toEqual([])
    expect(store.files.size).toBe(1)
  })

  test("serves another question about the same text", async () => {
    const store = memoryPrefixes()
    await answerFrom(store, IDS, 20)
    const other = [...IDS.slice(0, 270), ...randomTokens(40, 2, 96)]
    const expected = await answerFrom(memoryPrefixes(), other, 20)
    const found = await answerFrom(store, other, 20)
    expect(found.computed).toBe(39)
    expect(found.tokens).toEqual(expected.tokens)
    expectClose(found.logprobs, expected.logprobs, TOLERANCE, { what: "log-probabilities" })
  })

  test("of a recurrence is its state", async () => {
    const store = memoryPrefixes()
    const location = fixture("goldens/tiny-hgrnbit")
    const hgrn = await model(store, { location })
    const ids = randomTokens(300, 3, hgrn.config.vocabSize)
    const first = await answer(hgrn, ids, 20)
    forgetPrompts(hgrn)
    expect((await answer(hgrn, [...ids, 5], 1)).computed).toBe(1)
    forgetPrompts(hgrn)
    expect(await answer(hgrn, ids, 20)).toEqual({ ...first, computed: 0 })
    expect((await answer(await model(store, { location, actQuant: "none" }), ids, 1)).computed).toBe(299)
  })

  test("grows with its conversation, by files of 256 tokens more at least", async () => {
    const store = memoryPrefixes()
    await answerFrom(store, IDS.slice(0, 200), 2)
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
    await answerFrom(store, IDS, 2)
    const trainedOn = await randomCheckpoint(GEMMA, 2)
    expect((await answer(await model(store, { location: trainedOn }), IDS, 2)).computed).toBe(299)
    const location = fixture("goldens/tiny-gemma3")
    const other = await model(store, { location })
    const ids = randomTokens(300, 4, other.config.vocabSize)
    const plain = await answer(other, ids, 2)
    await other.loadAdapter(fixture("goldens/tiny-gemma3/adapter"))
    const adapted = await answer(other, ids, 2)
    expect(adapted.computed).toBe(299)
    await other.setAdapters([])
    expect(await answer(other, ids, 2)).toEqual({ ...plain, computed: 0 })
    await other.setAdapters(["default"])
    expect(await answer(other, ids, 2)).toEqual({ ...adapted, computed: 0 })
    expect(reasons).toEqual([])
  })

  test("is neither read nor written once weights may have been trained", async () => {
    const store = memoryPrefixes()
    await answerFrom(store, IDS, 2)
    const other = await model(store)
    const release = await internals(other).acquire() // as each step of a training does
    release()
    expect((await answer(other, IDS, 2)).computed).toBe(299)
    expect(store.files.size).toBe(1)
    await answer(other, randomTokens(300, 5, 96), 2)
    expect(store.files.size).toBe(1)
  })
})

describe("a damaged file", () => {
  const store = memoryPrefixes()
  let whole: readonly [name: string, bytes: Uint8Array]
  let expected: Awaited<ReturnType<typeof answer>>

  beforeAll(async () => {
    expected = await answerFrom(store, IDS, 3)
    whole = [...store.files][0]!
  })

  async function expectRefused(bytes: Uint8Array): Promise<void> {
    store.files.clear()
    store.files.set(whole[0], bytes)
    expect(await answerFrom(store, IDS, 3)).toEqual(expected)
  }

  test("is passed over with a reason, wherever one byte is another", async () => {
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
    const [name, bytes] = whole
    store.files.clear()
    store.files.set(name, bytes.slice(0, -1))
    forgetPrompts(lm)
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
    const expected = await answerFrom(memoryPrefixes(), IDS, 3)
    expect(await answerFrom(store, IDS, 3)).toEqual(expected)
    expect(reasons.length).toBeGreaterThan(1)
    const readOnly: PrefixStore = { ...memoryPrefixes(), touch: fail, remove: fail }
    await answerFrom(readOnly, IDS, 3)
    expect(await answerFrom(readOnly, IDS, 3)).toEqual({ ...expected, computed: 0 })
  })

  test("gives up what was not used for longest when it is full, and nothing else that lies there", async () => {
    const store = memoryPrefixes()
    store.files.set("notes.txt", new Uint8Array(10 ** 6))
    const prompts = [1, 2, 3].map((seed) => randomTokens(300, seed, 96))
    const computed = async (prompt: readonly number[]) => (await answerFrom(store, prompt, 1)).computed
    for (const prompt of prompts.slice(0, 2)) expect(await computed(prompt)).toBe(299)
    const bytes = [...store.files.values()].at(-1)!.byteLength
    const small = await model(store, { maxBytes: Math.floor(2.5 * bytes) })
    expect((await answer(small, prompts[0]!, 1)).computed).toBe(0) // and so was used after the other
    await answer(small, prompts[2]!, 1)
    expect(await computed(prompts[0]!)).toBe(0)
    expect(await computed(prompts[1]!)).toBe(299)
    expect(await computed(prompts[2]!)).toBe(0)
    expect(store.files.has("notes.txt")).toBe(true)
  })

  test("takes nothing that is larger than it may be", async () => {
    const store = memoryPrefixes()
    const other = await model(store, { maxBytes: 1000 })
    await answer(other, IDS, 1)
    expect(store.files.size).toBe(0)
    expect(reasons).toEqual([expect.stringMatching(/^prefix: is \d+ bytes, expected at most 1000$/)])
  })

  test("is a folder where a path is given, which a later model finds", async () => {
    const directory = join(await mkdtemp(join(tmpdir(), "gemlet-prefixes-")), "made", "when needed")
    try {
      const first = await answer(await model(directory), IDS, 3)
      await open.pop()!.dispose()
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
