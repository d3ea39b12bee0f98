import { readdirSync, readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type GenerationOptions, type LanguageModel, type LoadOptions, load } from "../src/index.ts"
import { type Folder, memoryFolder } from "../src/model/source.ts"
import { answer, forgetPrompts, randomTokens } from "./helpers/answer.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture, golden } from "./helpers/golden.ts"
import { randomCheckpoint } from "./helpers/random_checkpoint.ts"
import { probabilities } from "./reference/sample.ts"

const device = testDeviceKind()
const open: LanguageModel[] = []

async function opened(location: Folder | string | undefined, options: LoadOptions): Promise<LanguageModel> {
  const lm = await load(location, options)
  open.push(lm)
  return lm
}

afterAll(async () => {
  for (const lm of open.reverse()) await lm.dispose()
})

/** Two local layers and one that sees everything, over 96 tokens. */
const SHAPE = {
  num_hidden_layers: 3,
  layer_types: ["sliding_attention", "sliding_attention", "full_attention"],
  max_position_embeddings: 512,
}
const WARM = { temperature: 1.2, topK: 50, topP: 0.95, seed: 7, ignoreEos: true }
const GREEDY = { temperature: 0, ignoreEos: true }

async function drawn(lm: LanguageModel, ids: readonly number[] | string, options: GenerationOptions) {
  const generation = lm.generate(ids, options)
  for await (const _ of generation);
  return { tokens: [...generation.tokens], text: generation.text, timings: generation.timings }
}

/** The storyteller with the ids of two tokens exchanged. */
function swapped(): Folder {
  const folder = new URL("../weights/storyteller/", import.meta.url)
  const files = new Map(readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(new URL(name, folder)))]))
  const json = JSON.parse(new TextDecoder().decode(files.get("tokenizer.json")))
  const { vocab } = json.model
  const [a, b] = Object.keys(vocab).slice(-2) as [string, string]
  json.model.vocab = { ...vocab, [a]: vocab[b], [b]: vocab[a] }
  return memoryFolder("swapped", files.set("tokenizer.json", new TextEncoder().encode(JSON.stringify(json))))
}

/** What a model draws with a draft must be what it draws alone. */
async function expectSame(
  [target, draft]: readonly LanguageModel[],
  ids: readonly number[] | string,
  options: GenerationOptions,
) {
  const alone = await drawn(target!, ids, options)
  const helped = await drawn(target!, ids, { ...options, draft: draft! })
  expect(helped.tokens).toEqual(alone.tokens)
  expect(helped.text).toBe(alone.text)
  const { draftedTokens, acceptedTokens, tokens, readbacks } = helped.timings
  expect(acceptedTokens).toBeLessThanOrEqual(draftedTokens)
  expect(readbacks + acceptedTokens).toBeGreaterThanOrEqual(tokens) // a round gives what was accepted and one token more
  return helped.timings
}

// A draft that is always wrong has rounds of fewer and fewer tokens.
test.each([
  ["tiny-gemma1", 2],
  ["tiny-gemma2", 4],
  ["tiny-gemma3", 8],
])(
  "%s with a draft that knows nothing draws its golden's tokens, %i or fewer proposed at a time",
  async (name, draftTokens) => {
    const { greedy } = golden(`goldens/${name}`)
    const target = await opened(fixture(`goldens/${name}`), { device, context: 256, chunk: 32 })
    const vocabulary = { vocab_size: target.config.vocabSize }
    const draft = await opened(await randomCheckpoint(vocabulary), { context: 256, beside: target })
    for (const { ids, new_tokens } of greedy.slice(0, 2)) {
      const options = { ...GREEDY, maxTokens: new_tokens.length, draft, draftTokens }
      const { tokens, timings } = await drawn(target, ids, options)
      expect(tokens).toEqual(new_tokens)
      expect(timings.draftedTokens).toBeGreaterThan(0)
      expect(timings.acceptedTokens / timings.draftedTokens).toBeLessThan(0.5)
    }
  },
)

describe("the storyteller with itself in four bits as a draft", () => {
  let target: LanguageModel
  let draft: LanguageModel
  beforeAll(async () => {
    target = await opened(undefined, { device, context: 256 })
    draft = await opened(undefined, { context: 256, dtype: "q4", beside: target })
  })
  const prompt = "Once upon a time there was a little dog named Tim."

  test.each<[string, GenerationOptions]>([
    ["greedy", GREEDY],
    ["warm", { ...WARM, seed: 2 ** 40 + 1 }],
    ["with a repetition penalty", { ...WARM, repetitionPenalty: 1.3, minP: 0.02 }],
  ])("tells the same story: %s", async (_, options) => {
    const { draftedTokens, acceptedTokens } = await expectSame([target, draft], prompt, { ...options, maxTokens: 60 })
    expect(acceptedTokens / draftedTokens).toBeGreaterThan(0.5)
  })

  test("ends where the story does", async () => {
    await expectSame([target, draft], prompt, { temperature: 0.8, seed: 3, maxTokens: 200 })
    await expectSame([target, draft], prompt, { temperature: 0, stop: [" friend", "ball"], maxTokens: 40 })
  })

  test("tells the same log-probabilities", async () => {
    const options = { ...WARM, maxTokens: 20, logprobs: 3 }
    const read = async (more: GenerationOptions) => {
      const rows: { token: number; logprob: number }[] = []
      for await (const { tokens, logprobs } of target.generate(prompt, { ...options, ...more })) {
        expect(logprobs!.map(({ token }) => token)).toEqual(tokens)
        for (const each of logprobs!) rows.push(each, ...each.top)
      }
      return rows
    }
    const [alone, helped] = [await read({}), await read({ draft })]
    expect(helped.map(({ token }) => token)).toEqual(alone.map(({ token }) => token))
    const values = (rows: typeof alone) => rows.map(({ logprob }) => logprob)
    expectClose(values(helped), values(alone), { absolute: 1e-3 }, { what: "log-probabilities" })
  })

  test("is of help to several answers, one after another and at once", async () => {
    const texts = [prompt, "Lily had a red ball.", "The sun was warm."]
    const alone = await Promise.all(texts.map((text) => drawn(target, text, { ...WARM, maxTokens: 30 })))
    const helped = await Promise.all(texts.map((text) => drawn(target, text, { ...WARM, maxTokens: 30, draft })))
    expect(helped.map(({ text }) => text)).toEqual(alone.map(({ text }) => text))
  })

  test("gives back the memory that it took", async () => {
    await drawn(target, prompt, { ...GREEDY, maxTokens: 9, draft })
    const before = [target.memory.total, draft.memory.total]
    await drawn(target, prompt, { ...GREEDY, maxTokens: 9, draft, draftTokens: 3 })
    expect([target.memory.total, draft.memory.total]).toEqual(before)
  })

  test("is refused together with a schema, or where its tokens are others", async () => {
    expect(() => target.generate("Tim", { draft, schema: true })).toThrow(
      new TypeError("generate: draft is given with a schema, expected one of the two"),
    )
    const others = await opened(swapped(), { context: 256, beside: target })
    expect(() => target.generate("Tim", { draft: others })).toThrow(
      /^generate: token \d+ of the draft swapped is ".*", expected ".*" as here$/,
    )
  })
})

describe("a draft", () => {
  let target: LanguageModel
  let same: LanguageModel
  let other: LanguageModel
  beforeAll(async () => {
    const options = { context: 128, chunk: 9 }
    target = await opened(await randomCheckpoint(SHAPE), { device, ...options })
    same = await opened(await randomCheckpoint(SHAPE), { ...options, beside: target })
    other = await opened(await randomCheckpoint(SHAPE, 2), { ...options, beside: target })
  })

  test("of the same weights is right all the time", async () => {
    for (const options of [GREEDY, WARM]) {
      const timings = await expectSame([target, same], randomTokens(40, 1, 96), { ...options, maxTokens: 61 })
      expect(timings.acceptedTokens).toBe(timings.draftedTokens)
      expect(timings.readbacks).toBeLessThan(61 / 3)
    }
  })

  test("changes nothing far past the window, however wrong it is", async () => {
    for (const more of [
      { ...GREEDY, draftTokens: 8 },
      { ...WARM, draftTokens: 16 },
    ]) {
      await expectSame([target, other], randomTokens(30, 5, 96), { ...more, maxTokens: 90 })
    }
  })

  test("goes on to the last position, and over it where the context shifts", async () => {
    for (const draft of [same, other]) {
      await expectSame([target, draft], randomTokens(100, 4, 96), { ...WARM, draftTokens: 7 })
      await expectSame([target, draft], randomTokens(127, 4, 96), GREEDY)
      await expectSame([target, draft], randomTokens(90, 4, 96), { ...WARM, maxTokens: 90, overflow: "shift" })
    }
  })

  test("proposes nothing where its pieces are single tokens", async () => {
    const single = await opened(await randomCheckpoint(SHAPE), { context: 128, chunk: 1, beside: target })
    const timings = await expectSame([target, single], [2, 5, 9], { ...GREEDY, maxTokens: 10 })
    expect(timings.draftedTokens).toBe(0)
  })

  test.each(["left", "aborted"])("may be %s in the middle: what is kept of both stays true", async (how) => {
    const ids = randomTokens(50, 6, 96)
    const abort = new AbortController()
    const generation = target.generate(ids, { ...WARM, maxTokens: 78, draft: other, signal: abort.signal })
    try {
      for await (const _ of generation) {
        if (generation.tokens.length < 30) continue
        if (how === "left") break
        abort.abort(new Error("enough"))
      }
    } catch (error) {
      expect((error as Error).message).toBe("enough")
    }
    const next = [...ids, ...generation.tokens, ...randomTokens(5, 7, 96)]
    for (const lm of [target, other]) {
      const turn = await answer(lm, next, 20)
      expect(turn.computed).toBeLessThan(20)
      forgetPrompts(lm)
      const expected = await answer(lm, next, 20)
      expect(turn.tokens).toEqual(expected.tokens)
      expectClose(turn.logprobs, expected.logprobs, { absolute: 2e-4 }, { what: "log-probabilities" })
      forgetPrompts(lm)
    }
  })

  test("leaves the second turn of a conversation its first", async () => {
    const first = randomTokens(40, 8, 96)
    const { tokens } = await drawn(target, first, { ...GREEDY, maxTokens: 30, draft: other })
    const second = [...first, ...tokens, ...randomTokens(10, 9, 96)]
    const turn = await drawn(target, second, { ...GREEDY, maxTokens: 20, draft: other })
    expect(turn.timings.prefillTokens).toBeLessThanOrEqual(10)
    forgetPrompts(target)
    expect((await drawn(target, second, { ...GREEDY, maxTokens: 20 })).tokens).toEqual(turn.tokens)
  })

  test("and its model may be each other's at the same time", async () => {
    const options = { ...WARM, maxTokens: 20 }
    const ids = [2, 3, 4]
    const expected = [await drawn(target, ids, options), await drawn(other, ids, options)]
    const [x, , y] = await Promise.all([
      drawn(target, ids, { ...options, draft: other }),
      other.score(ids),
      drawn(other, ids, { ...options, draft: target }),
      target.score(ids),
    ])
    expect([x.tokens, y.tokens]).toEqual(expected.map(({ tokens }) => tokens))
  })

  test("leaves the second token's distribution what it is, right or wrong", async () => {
    const [V, draws, topK] = [96, 120, 3]
    const following = async (ids: readonly number[]) =>
      probabilities((await target.logits(ids, { last: 1 })).data, { topK })
    const p = new Float64Array(V)
    for (const [token, q] of (await following([2, 3])).entries()) {
      if (q > 0) for (const [next, r] of (await following([2, 3, token])).entries()) p[next]! += q * r
    }
    for (const draft of [same, other]) {
      const counts = new Float64Array(V)
      for (let seed = 0; seed < draws; seed++) {
        const options = { temperature: 1, topK, seed, maxTokens: 2, ignoreEos: true, draft }
        counts[(await drawn(target, [2, 3], options)).tokens[1]!]!++
      }
      const cells = p.filter((each) => each > 0).length
      const chi2 = p.reduce(
        (sum, each, id) => (each > 0 ? sum + (counts[id]! - each * draws) ** 2 / (each * draws) : sum),
        0,
      )
      expect(chi2, `chi-square over ${cells} cells`).toBeLessThan(cells + 5 * Math.sqrt(2 * cells) + 5)
      for (const [id, count] of counts.entries()) if (count > 0) expect(p[id], `token ${id}`).toBeGreaterThan(0)
    }
  })

  test("is refused by name where it cannot help", async () => {
    const refused = (options: GenerationOptions, error: Error) => {
      expect(() => target.generate([2, 3], { maxTokens: 4, ...options })).toThrow(error)
    }
    refused({ draft: target }, new RangeError("generate: draft is the model itself, expected another"))
    for (const draftTokens of [0, 17, 1.5]) {
      const wrong = `generate: draftTokens is ${draftTokens}, expected a whole number from 1 to 16`
      refused({ draft: other, draftTokens }, new RangeError(wrong))
    }
    const gone = await load(await randomCheckpoint(SHAPE), { context: 128, beside: target })
    await gone.dispose()
    refused({ draft: gone }, new TypeError("random checkpoint: model is disposed, expected an open one"))
  })
})
