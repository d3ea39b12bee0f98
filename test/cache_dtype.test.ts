import { afterEach, describe, expect, test } from "vitest"
import {
  cacheBytes,
  cacheElementBytes,
  type LanguageModel,
  type LoadOptions,
  load,
  type ModelConfig,
} from "../src/index.ts"
import { answer, forgetPrompts, randomTokens } from "./helpers/answer.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture, golden } from "./helpers/golden.ts"
import { memoryPrefixes } from "./helpers/prefix_store.ts"
import { randomCheckpoint } from "./helpers/random_checkpoint.ts"

const device = testDeviceKind()
const open: LanguageModel[] = []
afterEach(async () => {
  for (const lm of open.splice(0)) await lm.dispose()
})

/** A model whose keys and values are in eight bits. */
async function model(location: Parameters<typeof load>[0], options: LoadOptions = {}): Promise<LanguageModel> {
  const lm = await load(location, { device, context: 512, chunk: 32, cacheDtype: "q8", ...options })
  open.push(lm)
  return lm
}

/** Two local layers around one that sees all. */
const LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
const RANDOM = () =>
  randomCheckpoint({ max_position_embeddings: 1024, sliding_window: 24, layer_types: LAYERS, num_hidden_layers: 3 })
const IDS = randomTokens(300, 1, 96)

/** The config of a model that has keys. */
function transformer(config: ModelConfig) {
  if (config.modelType === "hgrn_bit") throw new TypeError(`model is ${config.modelType}, expected one with keys`)
  return config
}

/** Root mean square of the difference, of that of what is expected. */
function relativeError(x: ArrayLike<number>, expected: ArrayLike<number>): number {
  const square = (sum: number, value: number) => sum + value * value
  const all = Array.from(expected)
  return Math.sqrt(all.map((value, i) => x[i]! - value).reduce(square, 0) / all.reduce(square, 0))
}

describe("a cache in eight bits", () => {
  // The error of a code is up to 1/254 of the greatest in its head, which random weights make more of.
  test.each(["tiny-gemma1", "tiny-gemma2", "tiny-gemma3", "tiny-gemma3-mm"])(
    "leaves logits of %s near",
    async (name) => {
      const expected = golden(`goldens/${name}`)
      const lm = await model(fixture(`goldens/${name}`))
      for (const [i, { ids }] of expected.prompts.entries()) {
        const error = relativeError((await lm.logits(ids)).data, expected.tensor(`prompt.${i}.logits`).data)
        expect(error).toBeLessThan(ids.length === 1 ? 0.02 : 0.12)
        expect(error).toBeGreaterThan(1e-4)
      }
    },
  )

  test("leaves the storyteller's greedy tokens the likeliest wherever they are so by more than its error", async () => {
    const { prompts, greedy, tensor } = golden("storyteller")
    const lm = await model(undefined)
    for (const [i, { ids }] of prompts.entries()) {
      const { data, shape } = tensor(`prompt.${i}.logits`)
      expect(relativeError((await lm.logits(ids, { last: shape[0]! })).data, data)).toBeLessThan(0.01)
    }
    const V = lm.config.vocabSize
    for (const { ids, new_tokens } of greedy) {
      const { data } = await lm.logits([...ids, ...new_tokens.slice(0, -1)], { last: new_tokens.length })
      const behind = new_tokens.map((token, t) => {
        const row = data.subarray(t * V, (t + 1) * V)
        return row.reduce((most, logit) => Math.max(most, logit)) - row[token]!
      })
      expect(behind.filter((by) => by === 0).length).toBeGreaterThan(0.97 * new_tokens.length)
      expect(Math.max(...behind)).toBeLessThan(0.2)
    }
  })

  test("is the same in chunks of any length, in steps and from a copy", async () => {
    const folder = await RANDOM()
    const lm = await model(folder)
    const { data } = await lm.logits(IDS)
    for (const chunk of [7, 300]) {
      const other = await model(folder, { chunk })
      expect(relativeError((await other.logits(IDS)).data, data)).toBeLessThan(0.02)
    }
    const first = await answer(lm, IDS, 40)
    const again = await answer(lm, IDS, 40)
    expect(again).toEqual({ ...first, computed: 0 })
    const other = [...IDS.slice(0, 280), ...randomTokens(20, 2, 96)]
    const branched = await answer(lm, other, 20)
    forgetPrompts(lm)
    expect(branched.tokens).toEqual((await answer(lm, other, 20)).tokens)
  })

  test("gives several generations at once what each is alone", async () => {
    const lm = await model(await RANDOM(), { sequences: 3 })
    const prompts = [IDS.slice(0, 3), IDS.slice(5, 80), IDS.slice(9, 50)]
    const alone: number[][] = []
    for (const prompt of prompts) alone.push((await answer(lm, prompt, 30)).tokens)
    forgetPrompts(lm)
    const together = await Promise.all(prompts.map((prompt) => answer(lm, prompt, 30)))
    expect(together.map(({ tokens }) => tokens)).toEqual(alone)
  })

  test("takes D + 4 bytes for D of a head, as its cost says", async () => {
    for (const options of [{}, { sequences: 2 }, { context: 100, chunk: 9 }]) {
      const lm = await model(await RANDOM(), options)
      const { memory, config } = lm
      const { chunk = 32, context = 512, sequences = 1 } = options as LoadOptions
      const bytesPerElement = cacheElementBytes(transformer(config), "q8")
      expect(memory.cache).toBe(cacheBytes(config, context, { chunk, bytesPerElement, sequences }))
    }
    const { config } = await model(undefined)
    const local = 5 * Math.min(512, 128 + 32)
    expect(cacheBytes(config, 512, { chunk: 32, bytesPerElement: cacheElementBytes(transformer(config), "q8") })).toBe(
      2 * 68 * (local + 512),
    )
    for (const headDim of [12, 49 * 4, 100, 132]) {
      const odd = { ...transformer(config), headDim, numKvHeads: 3 }
      expect(cacheBytes(odd, 512, { chunk: 32, bytesPerElement: cacheElementBytes(odd, "q8") })).toBe(
        6 * (headDim + 4) * (local + 512),
      )
    }
  })

  test("is saved with a prefix, and goes on from no file of another type", async () => {
    const folder = await RANDOM()
    const store = memoryPrefixes()
    const reasons: string[] = []
    const onSkip = (reason: string) => reasons.push(reason)
    const saving = (options: LoadOptions) => model(folder, { prefixCache: { store, onSkip }, ...options })
    const first = await answer(await saving({}), IDS, 20)
    expect(first.computed).toBe(299)
    expect(await answer(await saving({}), IDS, 20)).toEqual({ ...first, computed: 0 })
    const [file] = [...store.files.values()]
    expect((await answer(await saving({ cacheDtype: "f32" }), IDS, 1)).computed).toBe(299)
    expect(store.files.size).toBe(2)
    const other = [...store.files.values()].find((each) => each !== file)!
    expect(file!.byteLength).toBeLessThan(0.4 * other.byteLength)
    expect(reasons).toEqual([])
  })

  test("is refused where there are no keys, and under another name", async () => {
    await expect(model(fixture("goldens/tiny-hgrnbit"))).rejects.toThrow(
      new TypeError("cache: dtype is q8, expected f32 for the states of hgrn_bit, which has no keys"),
    )
    await expect(model(undefined, { cacheDtype: "q4" as "q8" })).rejects.toThrow(
      new TypeError("cache: dtype is q4, expected f32 or q8"),
    )
  })
})
