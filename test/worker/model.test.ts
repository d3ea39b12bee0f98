import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, memoryFolder } from "../../src/index.ts"
import type { WorkerLanguageModel } from "../../src/worker/worker_model.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { fixture, golden } from "../helpers/golden.ts"
import { connect, connectForTest, drain, spied } from "./helpers.ts"

const device = testDeviceKind()
const PROMPT = "Once upon a time"

describe("storyteller in a worker", () => {
  const { part, models } = spied()
  const { engine } = connect(part)
  let lm: WorkerLanguageModel
  let direct: LanguageModel
  const progress: string[] = []

  beforeAll(async () => {
    const onProgress = ({ phase }: { phase: string }) => progress.push(phase)
    lm = await engine.load(undefined, { device, context: 256, sequences: 2, onProgress })
    direct = models[0]! // the session at the other end
  })
  afterAll(() => engine.terminate())

  test("load tells its progress, and what the model is", () => {
    expect(progress.length).toBeGreaterThan(3)
    expect(new Set(progress)).toEqual(new Set(["upload"]))
    for (const key of ["name", "config", "context", "sequences", "device", "parameters", "generationConfig"] as const) {
      expect(lm[key], key).toEqual(direct[key])
    }
    expect(lm.adapters).toEqual([])
  })

  test("generate gives the tokens, text and account of the session", async () => {
    const options = { temperature: 0, maxTokens: 40, logprobs: 2 }
    const [answer, expected] = [lm.generate(PROMPT, options), direct.generate(PROMPT, options)]
    const pieces = await drain(answer)
    await drain(expected)
    expect(pieces.flatMap(({ tokens }) => tokens)).toEqual(expected.tokens)
    expect(pieces.map(({ text }) => text).join("")).toBe(expected.text)
    expect(pieces.flatMap(({ logprobs }) => logprobs ?? []).length).toBe(40)
    for (const key of ["tokens", "text", "prompt", "finishReason"] as const) {
      expect(answer[key], key).toEqual(expected[key])
    }
    expect(answer.sampling).toEqual({ ...expected.sampling, seed: answer.sampling!.seed })
    expect(answer.timings).toMatchObject({ promptTokens: expected.prompt.length, tokens: 40 })
  })

  test("generate streams: the first piece is there long before the last", async () => {
    const answer = lm.generate(PROMPT, { temperature: 0, maxTokens: 120, ignoreEos: true })
    for await (const { tokens } of answer) {
      expect(tokens.length).toBeLessThan(20)
      expect(answer.finishReason).toBeUndefined()
      expect(answer.timings!.tokens).toBe(answer.tokens.length)
      break
    }
    expect(answer.tokens.length).toBeLessThan(20)
  })

  test("generate does two answers at once, each as it would be alone", async () => {
    const options = { temperature: 0, maxTokens: 24 }
    const [a, b] = [lm.generate(PROMPT, options), lm.generate("The dog", options)]
    await Promise.all([drain(a), drain(b)])
    const [one, other] = [direct.generate(PROMPT, options), direct.generate("The dog", options)]
    await drain(one)
    await drain(other)
    expect(a.tokens).toEqual(one.tokens)
    expect(b.tokens).toEqual(other.tokens)
  })

  test("generate throws the signal's own reason, and the model is free again", async () => {
    const controller = new AbortController()
    const reason = new Error("enough")
    const answer = lm.generate(PROMPT, { maxTokens: 200, ignoreEos: true, signal: controller.signal })
    const reading = (async () => {
      for await (const _ of answer) controller.abort(reason)
    })()
    await expect(reading).rejects.toBe(reason)
    expect(answer.tokens.length).toBeLessThan(60)
    await lm.score(PROMPT) // waits for all answers to end
  })

  test("generate leaves the model's turn when its loop is left", async () => {
    for await (const _ of lm.generate(PROMPT, { maxTokens: 200, ignoreEos: true })) break
    const { loss } = await lm.score(PROMPT)
    expect(loss).toBeCloseTo((await direct.score(PROMPT)).loss, 5)
  })

  test("generate draws no more than a few batches ahead of a page that does not read", async () => {
    const began: ReturnType<LanguageModel["generate"]>[] = []
    const generate = direct.generate
    direct.generate = (...args) => {
      const answer = generate.apply(direct, args)
      began.push(answer)
      return answer
    }
    const answer = lm.generate(PROMPT, { maxTokens: 240, ignoreEos: true, temperature: 0 })
    const pieces = answer[Symbol.asyncIterator]()
    const first = (await pieces.next()).value!
    let drawn = -1
    while (began[0]!.tokens.length !== drawn) {
      drawn = began[0]!.tokens.length
      await new Promise((done) => setTimeout(done, 300))
    }
    direct.generate = generate
    expect(drawn).toBeGreaterThan(first.tokens.length)
    expect(drawn).toBeLessThan(100)
    const rest = await drain({ [Symbol.asyncIterator]: () => pieces })
    expect([first, ...rest].flatMap(({ tokens }) => tokens).length).toBe(240)
  })

  test("generate refuses as the session does, by class and message", async () => {
    const refusal = async (call: () => AsyncIterable<unknown>) => {
      try {
        await drain(call())
      } catch (error) {
        return { class: (error as Error).constructor, message: (error as Error).message }
      }
      return undefined
    }
    for (const [prompt, options] of [
      ["", {}],
      [[1e9], {}],
      [PROMPT, { topP: 2 }],
      [PROMPT, { maxTokens: 1000 }],
      [PROMPT, { schema: { type: "nonsense" } }],
    ] as const) {
      const expected = await refusal(() => direct.generate(prompt, options))
      expect(expected).toBeDefined()
      expect(await refusal(() => lm.generate(prompt, options))).toEqual(expected)
    }
    const answer = lm.generate(PROMPT, { maxTokens: 1 })
    await drain(answer)
    expect((await refusal(() => answer))?.message).toBe("generate: this generation was iterated before, expected once")
    const uncloneable = { maxTokens: 1, schema: { type: "object", default: () => 1 } }
    expect((await refusal(() => lm.generate(PROMPT, uncloneable as object)))?.message).toMatch(
      /cannot go across threads/,
    )
  })

  test("predictions and attention are the session's, and move their buffers", async () => {
    const moved: ArrayBufferLike[] = []
    const { attention } = direct
    direct.attention = async (...args) => {
      const result = await attention.apply(direct, args)
      moved.push(result.data.buffer)
      return result
    }
    const which = { layer: 1, head: 0 }
    expect(await lm.attention(PROMPT, which)).toEqual(await direct.attention(PROMPT, which))
    direct.attention = attention
    expect(moved[0]!.byteLength).toBe(0)
    expect(await lm.predictions(PROMPT, { top: 3 })).toEqual(await direct.predictions(PROMPT, { top: 3 }))
    await expect(lm.predictions(PROMPT, { top: 999 })).rejects.toThrow(RangeError)
    await expect(lm.attention(PROMPT, { layer: 99, head: 0 })).rejects.toThrow("layer is 99")
  })

  test("logits, hiddenStates, score and lossAndGradients are the session's, and move their buffers", async () => {
    const results: unknown[] = []
    const { logits } = direct
    direct.logits = async (...args) => {
      const result = await logits.apply(direct, args)
      results.push(result)
      return result
    }
    const ids = await lm.encode(PROMPT)
    expect(ids).toEqual(direct.encode(PROMPT))
    expect(await lm.logits(ids, { last: 2 })).toEqual(await direct.logits(ids, { last: 2 }))
    direct.logits = logits
    expect((results[0] as { data: Float32Array }).data.buffer.byteLength).toBe(0)
    expect(await lm.hiddenStates(ids)).toEqual(await direct.hiddenStates(ids))
    expect(await lm.score(PROMPT)).toEqual(await direct.score(PROMPT))
    const wrt = { wrt: ["model.norm.weight"] }
    expect(await lm.lossAndGradients(ids, wrt)).toEqual(await direct.lossAndGradients(ids, wrt))
    await expect(lm.logits(ids, { last: 99 })).rejects.toThrow(RangeError)
    expect(await lm.dispatchesPerToken()).toBeGreaterThan(0)
  })

  test("tokenizer has the facts at hand and computes in the worker", async () => {
    const [own, other] = [lm.tokenizer!, direct.tokenizer!]
    for (const key of ["bos", "eos", "pad", "vocabSize", "stripStart", "hasChatTemplate"] as const) {
      expect(own[key], key).toBe(other[key])
    }
    const ids = await own.encode(PROMPT, { bos: false })
    expect(ids).toEqual(other.encode(PROMPT, { bos: false }))
    expect(await own.decode(new Set(ids))).toBe(other.decode(ids))
    const messages = [{ role: "user", content: "Hello" }]
    expect(await own.chat(messages)).toEqual(other.chat(messages))
    expect(await own.idToToken(5)).toBe(other.idToToken(5))
    expect(await own.tokenToId("<eos>")).toBe(other.tokenToId("<eos>"))
    expect(await own.isSpecial(2)).toBe(true)
    expect(await own.piece(700, true)).toEqual(other.piece(700, true))
  })

  test("memory is as the engine has it after each answer", async () => {
    await drain(lm.generate(PROMPT, { maxTokens: 2 }))
    expect(lm.memory).toEqual(direct.memory)
    expect(lm.memory.weights).toBeGreaterThan(1e6)
  })

  test("load puts a model beside another of its engine, and of no other", async () => {
    const beside = await engine.load(undefined, { beside: lm, context: 256 })
    const draft = lm.generate(PROMPT, { temperature: 0, maxTokens: 12, draft: beside })
    await drain(draft)
    expect(draft.timings!.draftedTokens).toBeGreaterThan(0)
    const expected = direct.generate(PROMPT, { temperature: 0, maxTokens: 12 })
    await drain(expected)
    expect(draft.tokens).toEqual(expected.tokens)
    const { engine: other } = connectForTest()
    await expect(other.load(undefined, { beside })).rejects.toThrow(/beside is .* of another worker/)
    await beside.dispose()
    expect(() => lm.generate(PROMPT, { draft: beside })).toThrow(/model is disposed/)
  })

  test("dispose gives every GPU byte back, and later calls throw", async () => {
    const beside = await engine.load(undefined, { beside: lm, context: 64 })
    await beside.dispose()
    await beside.dispose()
    expect(beside.memory.total).toBe(0)
    expect(models.at(-1)!.memory.total).toBe(0)
    expect(() => beside.generate(PROMPT)).toThrow(/model is disposed, expected an open one/)
    await expect(beside.score(PROMPT)).rejects.toThrow(TypeError)
  })
})

test("a golden checkpoint has its logits and tokens through a worker", async () => {
  const { engine } = connectForTest()
  const folder = "goldens/tiny-gemma2"
  const { prompts, greedy, tensor } = golden(folder)
  await using lm = await engine.load(fixture(folder), { device, context: 128 })
  const { data, tolerance } = tensor("prompt.4.logits")
  const logits = await lm.logits(prompts[4]!.ids)
  const worst = logits.data.reduce((most, x, i) => Math.max(most, Math.abs(x - data[i]!)), 0)
  expect(worst).toBeLessThanOrEqual(tolerance)
  const answer = lm.generate(greedy[0]!.ids, { temperature: 0, maxTokens: 24, ignoreEos: true })
  await drain(answer)
  expect(answer.tokens).toEqual(greedy[0]!.new_tokens.slice(0, 24))
})

test("load rejects with the error of the engine: its class, its message, its cause", async () => {
  const { engine } = connectForTest()
  await expect(engine.load("no/such/folder/anywhere", { device })).rejects.toThrow(/no\/such\/folder/)
  await expect(engine.load(undefined, { device, context: 1 })).rejects.toThrow(RangeError)
  const broken = memoryFolder("broken", new Map([["config.json", new TextEncoder().encode("{")]]))
  await expect(engine.load(broken, { device })).rejects.toThrow(SyntaxError)
  const reason = new DOMException("stopped", "AbortError")
  await expect(engine.load(undefined, { device, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
})
