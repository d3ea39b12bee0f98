import { readdirSync, readFileSync } from "node:fs"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { type GenerationOptions, type LanguageModel, type LoadOptions, load } from "../src/index.ts"
import { type Folder, memoryFolder } from "../src/model/source.ts"
import { answer, forgetPrompts, randomTokens } from "./helpers/answer.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture, golden } from "./helpers/golden.ts"
import { randomCheckpoint } from "./helpers/random_checkpoint.ts"
import { randomHgrn } from "./helpers/random_hgrn.ts"
import { probabilities } from "./reference/sample.ts"

const device = testDeviceKind()
const open: LanguageModel[] = []

/** A model and others on its GPU device, disposed after the test. */
async function models(first: Folder | string | undefined, options: LoadOptions, ...others: (Folder | string)[]) {
  const target = await load(first, { device, ...options })
  open.push(target)
  for (const other of others) open.push(await load(other, { context: target.context, beside: target }))
  return open
}

afterEach(async () => {
  for (const lm of open.splice(0).reverse()) await lm.dispose()
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

test.each(["tiny-gemma1", "tiny-gemma2", "tiny-gemma3"])(
  "%s with a draft that knows nothing draws its golden's tokens",
  async (name) => {
    const { greedy } = golden(`goldens/${name}`)
    const vocabulary = {
      vocab_size: JSON.parse(readFileSync(fixture(`goldens/${name}/config.json`), "utf8")).vocab_size,
    }
    const options = { context: 256, chunk: 32 }
    const [target, draft] = await models(fixture(`goldens/${name}`), options, await randomCheckpoint(vocabulary))
    for (let draftTokens = 1; draftTokens <= 8; draftTokens++) {
      const { ids, new_tokens } = greedy[draftTokens % greedy.length]!
      const expected = new_tokens.slice(0, 24)
      const more = { ...GREEDY, maxTokens: expected.length, draft: draft!, draftTokens }
      const { tokens, timings } = await drawn(target!, ids, more)
      expect(tokens).toEqual(expected)
      expect(timings.acceptedTokens / timings.draftedTokens).toBeLessThan(0.5)
    }
  },
)

describe("the storyteller with itself in four bits as a draft", () => {
  let target: LanguageModel
  let draft: LanguageModel
  beforeAll(async () => {
    target = await load(undefined, { device, context: 512 })
    draft = await load(undefined, { context: 512, dtype: "q4", beside: target })
  })
  afterAll(async () => {
    await draft?.dispose()
    await target?.dispose()
  })
  const prompt = "Once upon a time there was a little dog named Tim."

  test.each<[string, GenerationOptions]>([
    ["greedy", GREEDY],
    ["warm", { ...WARM, seed: 2 ** 40 + 1, draftTokens: 8 }],
    ["with a repetition penalty", { ...WARM, repetitionPenalty: 1.3, minP: 0.02 }],
  ])("tells the same story: %s", async (_, options) => {
    const { draftedTokens, acceptedTokens } = await expectSame([target, draft], prompt, { ...options, maxTokens: 60 })
    expect(acceptedTokens / draftedTokens).toBeGreaterThan(0.5)
  })

  test("ends where the story does", async () => {
    await expectSame([target, draft], prompt, { temperature: 0.8, seed: 3 })
    await expectSame([target, draft], prompt, { temperature: 0, stop: [" friend", "ball"] })
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
})

describe("a draft", () => {
  test("of the same weights is right all the time", async () => {
    const [target, draft] = await models(await randomCheckpoint(SHAPE), {}, await randomCheckpoint(SHAPE))
    for (const options of [GREEDY, WARM]) {
      const timings = await expectSame([target!, draft!], randomTokens(40, 1, 96), { ...options, maxTokens: 61 })
      expect(timings.acceptedTokens).toBe(timings.draftedTokens)
      expect(timings.readbacks).toBeLessThan(61 / 3)
    }
  })

  test("changes nothing far past the window, however wrong it is", async () => {
    const options = { context: 256, chunk: 9 }
    const other = await randomCheckpoint(SHAPE, 2)
    const [target, draft] = await models(await randomCheckpoint(SHAPE), options, other)
    for (const more of [
      { ...GREEDY, draftTokens: 8 },
      { ...WARM, draftTokens: 16 },
    ]) {
      await expectSame([target!, draft!], randomTokens(30, 5, 96), { ...more, maxTokens: 120 })
    }
  })

  test("goes on to the last position, and over it where the context shifts", async () => {
    const checkpoint = await randomCheckpoint(SHAPE)
    const pair = await models(checkpoint, { context: 64, chunk: 16 }, await randomCheckpoint(SHAPE, 2), checkpoint)
    for (const draft of pair.slice(1)) {
      const [target] = pair
      await expectSame([target!, draft], randomTokens(20, 4, 96), { ...WARM, draftTokens: 7 })
      await expectSame([target!, draft], randomTokens(63, 4, 96), GREEDY)
      await expectSame([target!, draft], randomTokens(9, 4, 96), { ...WARM, maxTokens: 100, overflow: "shift" })
    }
  })

  test("does nothing where pieces are single tokens", async () => {
    const [target, draft] = await models(await randomCheckpoint(SHAPE), { chunk: 1 }, await randomCheckpoint(SHAPE))
    const timings = await expectSame([target!, draft!], [2, 5, 9], { ...GREEDY, maxTokens: 20 })
    expect(timings.draftedTokens).toBe(0)
  })

  test("may be left and aborted in the middle: what is kept of both stays true", async () => {
    const options = { context: 512, chunk: 16 }
    const [target, draft] = await models(await randomCheckpoint(SHAPE), options, await randomCheckpoint(SHAPE, 2))
    const ids = randomTokens(50, 6, 96)
    for (const stop of ["leave", "abort"]) {
      const abort = new AbortController()
      const generation = target!.generate(ids, { ...WARM, maxTokens: 200, draft: draft!, signal: abort.signal })
      try {
        for await (const _ of generation) {
          if (generation.tokens.length < 30) continue
          if (stop === "leave") break
          abort.abort(new Error("enough"))
        }
      } catch (error) {
        expect((error as Error).message).toBe("enough")
      }
      const next = [...ids, ...generation.tokens, ...randomTokens(5, 7, 96)]
      for (const lm of [target!, draft!]) {
        const turn = await answer(lm, next, 30)
        expect(turn.computed).toBeLessThan(20)
        forgetPrompts(lm)
        const expected = await answer(lm, next, 30)
        expect(turn.tokens).toEqual(expected.tokens)
        expectClose(turn.logprobs, expected.logprobs, { absolute: 2e-4 }, { what: "log-probabilities" })
        forgetPrompts(lm)
      }
    }
  })

  test("leaves the second turn of a conversation its first", async () => {
    const options = { context: 512, chunk: 32 }
    const [target, draft] = await models(await randomCheckpoint(SHAPE), options, await randomCheckpoint(SHAPE, 2))
    const first = randomTokens(100, 8, 96)
    const { tokens } = await drawn(target!, first, { ...GREEDY, maxTokens: 60, draft: draft! })
    const second = [...first, ...tokens, ...randomTokens(10, 9, 96)]
    const turn = await drawn(target!, second, { ...GREEDY, maxTokens: 40, draft: draft! })
    expect(turn.timings.prefillTokens).toBeLessThanOrEqual(10)
    forgetPrompts(target!)
    expect((await drawn(target!, second, { ...GREEDY, maxTokens: 40 })).tokens).toEqual(turn.tokens)
  })

  test("and its model may be each other's at the same time", async () => {
    const [a, b] = await models(await randomCheckpoint(SHAPE), {}, await randomCheckpoint(SHAPE, 2))
    const options = { ...WARM, maxTokens: 30 }
    const [ids, expected] = [
      [2, 3, 4],
      [await drawn(a!, [2, 3, 4], options), await drawn(b!, [2, 3, 4], options)],
    ]
    const [x, , y] = await Promise.all([
      drawn(a!, ids, { ...options, draft: b! }),
      b!.score(ids),
      drawn(b!, ids, { ...options, draft: a! }),
      a!.score(ids),
    ])
    expect([x.tokens, y.tokens]).toEqual(expected.map(({ tokens }) => tokens))
  })

  test("leaves the second token's distribution what it is", async () => {
    const V = 8
    const tiny = { ...SHAPE, vocab_size: V, num_hidden_layers: 1, layer_types: ["full_attention"] }
    const [target, draft] = await models(await randomCheckpoint(tiny), {}, await randomCheckpoint(tiny, 2))
    const softmax = async (ids: readonly number[]) => probabilities((await target!.logits(ids, { last: 1 })).data, {})
    const first = await softmax([2, 3])
    const second = await Promise.all(Array.from({ length: V }, (_, token) => softmax([2, 3, token])))
    const p = Array.from({ length: V }, (_, token) => first.reduce((sum, q, i) => sum + q * second[i]![token]!, 0))
    const [counts, draws] = [new Array<number>(V).fill(0), 400]
    let accepted = 0
    for (let seed = 0; seed < draws; seed++) {
      const options = { temperature: 1, seed, maxTokens: 2, ignoreEos: true, draft: draft! }
      const { tokens, timings } = await drawn(target!, [2, 3], options)
      counts[tokens[1]!]!++
      accepted += timings.acceptedTokens
    }
    const chi2 = counts.reduce((sum, n, i) => sum + (n - p[i]! * draws) ** 2 / (p[i]! * draws), 0)
    expect(chi2, `chi-square over ${V} cells`).toBeLessThan(V + 5 * Math.sqrt(2 * V))
    expect(accepted).toBeGreaterThan(0.1 * draws)
    expect(accepted).toBeLessThan(0.9 * draws)
  })

  test("is refused by name where it cannot help", async () => {
    const [target, draft, other] = await models(
      await randomCheckpoint(SHAPE),
      {},
      await randomCheckpoint(SHAPE, 2),
      await randomCheckpoint({ ...SHAPE, vocab_size: 100 }),
    )
    const refused = (options: GenerationOptions, error: Error, lm = target!) => {
      expect(() => lm.generate([2, 3], { maxTokens: 4, ...options })).toThrow(error)
    }
    refused({ draft: target! }, new RangeError("generate: draft is the model itself, expected another"))
    refused({ draft: other! }, new RangeError("generate: draft has a vocabulary of 100, expected the model's 96"))
    for (const draftTokens of [0, 17, 1.5]) {
      const wrong = `generate: draftTokens is ${draftTokens}, expected a whole number from 1 to 16`
      refused({ draft: draft!, draftTokens }, new RangeError(wrong))
    }
    const short = await load(await randomCheckpoint(SHAPE), { context: 100, beside: target! })
    open.push(short)
    refused({ draft: short }, new RangeError("generate: draft has a context of 100, expected at least the model's 512"))
    const recurrent = await load(await randomHgrn(), { beside: target!, context: 512 })
    open.push(recurrent)
    refused(
      { draft: recurrent },
      new RangeError("generate: with a draft a model is hgrn_bit, expected models that can go back some tokens"),
    )
    const far = await load(await randomCheckpoint(SHAPE), { device })
    open.push(far)
    refused(
      { draft: far },
      new RangeError("generate: draft is on a GPU device of its own, expected the model's (load it with beside)"),
    )
    await far.dispose()
    refused({ draft: far }, new TypeError("random checkpoint: model is disposed, expected an open one"))
  })

  test("of other tokens, or together with a schema, is refused", async () => {
    const target = await load(undefined, { device, context: 128 })
    open.push(target)
    const draft = await load(undefined, { context: 128, beside: target })
    open.push(draft)
    expect(() => target.generate("Tim", { draft, schema: true })).toThrow(
      new TypeError("generate: draft is given with a schema, expected one of the two"),
    )
    const others = await load(swapped(), { context: 128, beside: target })
    open.push(others)
    expect(() => target.generate("Tim", { draft: others })).toThrow(
      /^generate: token \d+ of the draft .* is ".*", expected ".*" as here$/,
    )
  })
})
