import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, type LoadOptions, load, tune } from "../src/index.ts"
import type { Folder } from "../src/model/source.ts"
import { answer, forgetPrompts, randomTokens } from "./helpers/answer.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture } from "./helpers/golden.ts"
import { randomCheckpoint } from "./helpers/random_checkpoint.ts"

const device = testDeviceKind()
const open: LanguageModel[] = []
let gemma: LanguageModel

beforeAll(async () => {
  gemma = await load(await GEMMA(), { device })
})
afterAll(() => gemma?.dispose())

async function model(location: Folder | string | undefined, options: LoadOptions = {}): Promise<LanguageModel> {
  const lm = await load(location, { beside: gemma, ...options })
  open.push(lm)
  return lm
}

afterEach(async () => {
  for (const lm of open.splice(0)) await lm.dispose()
})

const GREEDY = { temperature: 0, ignoreEos: true }
/** Chunks of other lengths round otherwise: the same bound as that of a prefill in pieces. */
const TOLERANCE = { absolute: 2e-4 }

const SHORT = { batch: 1, context: 16, rate: 1e-2, warmup: 0, heldOut: 0, rank: 4, seed: 3 }
const LAYERS = ["sliding_attention", "full_attention"]
const LONG = { max_position_embeddings: 4096, sliding_window: 24, layer_types: LAYERS }
const GEMMA = () => randomCheckpoint(LONG)

async function fromScratch(lm: LanguageModel, ids: readonly number[], maxTokens: number) {
  forgetPrompts(lm)
  const expected = await answer(lm, ids, maxTokens)
  expect(expected.computed).toBe(ids.length - 1)
  return expected
}

describe("the second turn of a conversation of 2,000 tokens", () => {
  test("computes its new tokens alone, with the logits of a run from scratch", async () => {
    const first = randomTokens(1900, 1, 96)
    const { tokens: said } = await answer(gemma, first, 100)
    const second = [...first, ...said, ...randomTokens(30, 2, 96)]
    const turn = await answer(gemma, second, 40)
    expect(turn.computed).toBe(30) // the answer's last token, which no step had fed yet, and all of the new ones but the last
    const expected = await fromScratch(gemma, second, 40)
    expect(turn.tokens).toEqual(expected.tokens)
    expectClose(turn.logprobs, expected.logprobs, TOLERANCE, { what: "log-probabilities" })
  })
})

describe("reuse", () => {
  test("survives an answer that was left, aborted or longer than the ring can go back", async () => {
    const lm = await model(await GEMMA(), { chunk: 16 })
    const ids = randomTokens(120, 3, 96)
    for await (const _ of lm.generate(ids, GREEDY)) break
    const controller = new AbortController()
    const aborted = (async () => {
      for await (const _ of lm.generate(ids, { ...GREEDY, signal: controller.signal })) controller.abort()
    })()
    await expect(aborted).rejects.toThrow(/abort/i)
    const { tokens: said, computed } = await answer(lm, ids, 200)
    expect(computed).toBe(0)
    const other = [...ids, ...said.slice(0, 50), 5, 6, 7]
    const turn = await answer(lm, other, 30)
    expect(turn.computed).toBeLessThanOrEqual(53) // from the prompt's last token on, or the one before it
    expect((await answer(lm, ids, 3)).computed).toBe(0)
    const expected = await fromScratch(lm, other, 30)
    expect(turn.tokens).toEqual(expected.tokens)
    expectClose(turn.logprobs, expected.logprobs, TOLERANCE, { what: "log-probabilities" })
  })

  test("of a recurrence goes on from a copy of its state", async () => {
    const lm = await model(fixture("goldens/tiny-hgrnbit"))
    const ids = randomTokens(60, 4, lm.config.vocabSize)
    const { tokens: said } = await answer(lm, ids, 48)
    const turns = []
    // Of the answer at most a batch of steps is computed again; where it was not wanted, all goes on from the prompt.
    for (const [kept, most] of [
      [48, 16 + 3],
      [0, 3],
    ] as const) {
      const second = [...ids, ...said.slice(0, kept), 7, 8, 9]
      turns.push({ second, turn: await answer(lm, second, 20) })
      expect(turns.at(-1)!.turn.computed).toBeLessThanOrEqual(most)
    }
    expect((await answer(lm, ids, 4)).computed).toBe(0)
    for (const { second, turn } of turns) {
      const expected = await fromScratch(lm, second, 20)
      expect(turn.tokens).toEqual(expected.tokens)
      expectClose(turn.logprobs, expected.logprobs, TOLERANCE, { what: "log-probabilities" })
    }
  })

  test("begins anew after another text went through the cache, and finds what that left", async () => {
    const ids = randomTokens(40, 5, 96)
    const { tokens: said } = await answer(gemma, ids, 20)
    await gemma.logits([ids[0]! + 1, ...randomTokens(30, 6, 96)])
    const again = await answer(gemma, ids, 20)
    expect(again.computed).toBe(39)
    expect(again.tokens).toEqual(said)
    await gemma.score([...ids, 9, 9])
    expect((await answer(gemma, [...ids, 9], 2)).computed).toBe(0)
  })

  test("ends where weights or adapters change", async () => {
    const lm = await model(fixture("goldens/tiny-gemma3"))
    const ids = randomTokens(40, 7, lm.config.vocabSize)
    const plain = await answer(lm, ids, 12)
    await lm.loadAdapter(fixture("goldens/tiny-gemma3/adapter"))
    const adapted = await answer(lm, ids, 12)
    expect(adapted.computed).toBe(39)
    expect(adapted.logprobs).not.toEqual(plain.logprobs)
    await lm.setAdapters([])
    const back = await answer(lm, ids, 12)
    expect(back).toEqual({ ...plain, computed: 39 })
  })

  test("stays where adapters are set as they are", async () => {
    const lm = await model(fixture("goldens/tiny-gemma3"))
    const ids = randomTokens(40, 7, lm.config.vocabSize)
    const first = await answer(lm, ids, 12)
    await lm.setAdapters([])
    expect(await answer(lm, ids, 12)).toEqual({ ...first, computed: 0 })
    await lm.loadAdapter(fixture("goldens/tiny-gemma3/adapter"))
    const adapted = await answer(lm, ids, 12)
    await lm.setAdapters(["default"])
    expect(await answer(lm, ids, 12)).toEqual({ ...adapted, computed: 0 })
  })

  test("ends with each step of a training", async () => {
    const lm = await model(undefined, { context: 64 })
    const ids = randomTokens(20, 8, lm.config.vocabSize)
    await answer(lm, ids, 2)
    let steps = 0
    for await (const _ of tune(lm, [{ text: "One day." }, { text: "The end." }], { ...SHORT, steps: 2 })) {
      expect((await answer(lm, ids, 2)).computed).toBe(19)
      expect((await answer(lm, ids, 2)).computed).toBe(0)
      steps++
    }
    expect(steps).toBe(2)
  })
})
