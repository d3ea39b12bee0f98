import { afterEach, describe, expect, test } from "vitest"
import { cacheBytes, type LanguageModel, type LoadOptions, load } from "../../src/index.ts"
import type { Folder } from "../../src/model/source.ts"
import { expectClose } from "../helpers/compare.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { fixture, golden } from "../helpers/golden.ts"
import { randomCheckpoint } from "../helpers/random_checkpoint.ts"

const device = testDeviceKind()
const opened: LanguageModel[] = []
async function open(location: string | Folder | undefined, options: LoadOptions = {}): Promise<LanguageModel> {
  const lm = await load(location, { device, ...options })
  opened.push(lm)
  return lm
}
afterEach(async () => {
  for (const lm of opened.splice(0)) await lm.dispose()
})

describe("the cache", () => {
  const W = 16
  const expected = golden("goldens/tiny-gemma3")
  const ids = expected.prompts.find((prompt) => prompt.ids.length === 100)!.ids // past 3 W
  const index = expected.prompts.findIndex((prompt) => prompt.ids.length === 100)
  const { data, tolerance } = expected.tensor(`prompt.${index}.logits`)

  test.each([1, 7, W - 1, W, W + 1, 2 * W])("gives a full forward's logits in chunks of %i", async (chunk) => {
    const lm = await open(fixture("goldens/tiny-gemma3"), { chunk, context: 128 })
    expectClose((await lm.logits(ids)).data, data, { absolute: tolerance }, { what: `logits, chunks of ${chunk}` })
  })

  test.each([1, 7, 64])("lets a prefill in chunks of %i continue as token-by-token decoding does", async (chunk) => {
    const lm = await open(fixture("goldens/tiny-gemma3"), { chunk, context: 256 })
    const prompt = expected.prompts[2]!.ids
    const all = lm.generate(prompt, { temperature: 0, maxTokens: 60, ignoreEos: true })
    for await (const _ of all);
    await lm.logits([prompt[0]! + 1]) // what decoding left in the cache is gone
    const tail = lm.generate([...prompt, ...all.tokens.slice(0, 40)], {
      temperature: 0,
      maxTokens: 20,
      ignoreEos: true,
    })
    for await (const _ of tail);
    expect(tail.tokens).toEqual(all.tokens.slice(40))
  })

  test("holds a linear cache for global layers, a ring of window and chunk for local ones", async () => {
    const lm = await open(fixture("goldens/tiny-gemma3"), { chunk: 32, context: 512 })
    expect(lm.memory.cache).toBe(cacheBytes(lm.config, 512, { chunk: 32, bytesPerElement: 4 }))
    expect(lm.memory.cache).toBe(2 * 32 * 4 * (1 * 512 + 7 * (16 + 32)))
  })

  test("is exact with a context shorter than the window", async () => {
    const lm = await open(fixture("goldens/tiny-gemma3"), { chunk: 4, context: 15 })
    const short = expected.tensor("prompt.1.logits")
    const logits = await lm.logits(expected.prompts[1]!.ids)
    expectClose(logits.data, short.data, { absolute: short.tolerance }, { what: "logits" })
  })
})

describe("the sliding window", () => {
  const W = 8
  test("with one local layer ends exactly W keys back", async () => {
    const folder = await randomCheckpoint({ num_hidden_layers: 1, sliding_window: W })
    const t = 30
    const ids = Array.from({ length: t + 1 }, (_, i) => 3 + ((i * 7) % 90))
    for (const chunk of [1, 5, 64]) {
      const lm = await open(folder, { chunk })
      const last = async (sequence: number[]) => [...(await lm.logits(sequence, { last: 1 })).data]
      const base = await last(ids)
      const outside = await last(ids.with(t - W, 50))
      const inside = await last(ids.with(t - W + 1, 50))
      expect(outside).toEqual(base) // bit for bit
      expect(inside).not.toEqual(base)
    }
  })

  test("does not bound a global layer", async () => {
    const folder = await randomCheckpoint({ num_hidden_layers: 1, sliding_window: W, layer_types: ["full_attention"] })
    const lm = await open(folder)
    const ids = Array.from({ length: 40 }, (_, i) => 3 + ((i * 7) % 90))
    const base = await lm.logits(ids, { last: 1 })
    const other = await lm.logits(ids.with(1, 50), { last: 1 })
    expect([...other.data]).not.toEqual([...base.data])
  })
})

describe("a device with WebGPU's default limits", () => {
  test("gives storyteller's golden logits", async () => {
    const expected = golden("storyteller")
    const lm = await open(undefined, { limits: "default" })
    const { data, tolerance, shape } = expected.tensor("prompt.1.logits")
    const logits = await lm.logits(expected.prompts[1]!.ids, { last: shape[0]! })
    expectClose(logits.data, data, { absolute: tolerance }, { what: "logits" })
  })
})

describe("a context that the device cannot hold", () => {
  test("is refused before the upload, with one that fits", async () => {
    const shape = { num_attention_heads: 16, num_key_value_heads: 16, head_dim: 256, max_position_embeddings: 100_000 }
    const folder = await randomCheckpoint({ ...shape, layer_types: ["sliding_attention", "full_attention"] })
    const began: number[] = []
    const options = { context: 10_000, limits: "default", onProgress: () => began.push(1) } as const
    await expect(open(folder, options)).rejects.toThrow(
      "cache: 10000 positions need 156.3 MiB per layer, the device allows 128.0 MiB per buffer; try a context of 8192",
    )
    expect(began).toEqual([])
  })
})

describe("an untied head", () => {
  test("is used where config.json says so", async () => {
    const tied = await open(await randomCheckpoint({}, 5))
    const untied = await open(await randomCheckpoint({ tie_word_embeddings: false }, 5))
    const ids = [2, 9, 31, 77]
    expect(untied.memory.weights).toBe(tied.memory.weights + 96 * 32 * 4)
    expect([...(await untied.logits(ids)).data]).not.toEqual([...(await tied.logits(ids)).data])
  })
})
