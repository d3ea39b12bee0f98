import { afterEach, describe, expect, test } from "vitest"
import {
  cacheBytes,
  type Generation,
  type GenerationOptions,
  type LanguageModel,
  type LoadOptions,
  load,
} from "../src/index.ts"
import { forgetPrompts, randomTokens } from "./helpers/answer.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture, golden } from "./helpers/golden.ts"
import { randomCheckpoint } from "./helpers/random_checkpoint.ts"

const device = testDeviceKind()
const open: LanguageModel[] = []
afterEach(async () => {
  for (const lm of open.splice(0)) await lm.dispose()
})

async function model(location: Parameters<typeof load>[0], options: LoadOptions = {}): Promise<LanguageModel> {
  const lm = await load(location, { device, context: 256, chunk: 16, ...options })
  open.push(lm)
  return lm
}

async function finished(generation: Generation): Promise<Generation> {
  for await (const _ of generation);
  return generation
}

const GREEDY = { temperature: 0, ignoreEos: true }
const GEMMA = () => randomCheckpoint({ max_position_embeddings: 1024, sliding_window: 24 })
/** Of the random checkpoint. */
const V = 96

describe.each(["tiny-gemma1", "tiny-gemma2", "tiny-gemma3", "tiny-hgrnbit"])("%s", (name) => {
  test("gives several prompts at once the golden's tokens", async () => {
    const { greedy } = golden(`goldens/${name}`)
    const lm = await model(fixture(`goldens/${name}`), { context: 512, chunk: 32, sequences: greedy.length + 1 })
    const answers = await Promise.all(
      greedy.map(({ ids, new_tokens }) => finished(lm.generate(ids, { ...GREEDY, maxTokens: new_tokens.length }))),
    )
    expect(greedy.length).toBeGreaterThan(1)
    for (const [i, { tokens }] of answers.entries()) expect(tokens).toEqual(greedy[i]!.new_tokens)
  })
})

describe("generations at once", () => {
  const prompts = [1, 7, 40, 90].map((T, i) => randomTokens(T, i, V))

  test("draw what each draws alone, whatever their settings, and share their steps", async () => {
    const lm = await model(await GEMMA(), { sequences: 4 })
    const options: GenerationOptions[] = [
      { ...GREEDY, maxTokens: 60 },
      { temperature: 1, seed: 5, ignoreEos: true, maxTokens: 30, repetitionPenalty: 1.3 },
      { temperature: 2, seed: 6, topK: 20, ignoreEos: true, maxTokens: 45, logprobs: 3 },
      { temperature: 1, seed: 7, topP: 0.9, ignoreEos: true, maxTokens: 1 },
    ]
    const alone: Generation[] = []
    for (const [i, prompt] of prompts.entries()) alone.push(await finished(lm.generate(prompt, options[i])))
    forgetPrompts(lm)
    const together = await Promise.all(prompts.map((prompt, i) => finished(lm.generate(prompt, options[i]))))
    for (const [i, { tokens }] of together.entries()) expect(tokens).toEqual(alone[i]!.tokens)
    const [first, second] = together.map(({ timings }) => timings.readbacks)
    expect(second).toBeLessThan(first!) // the first went on alone
  })

  test("wait where there are more of them than sequences, and take their places", async () => {
    const lm = await model(await GEMMA(), { sequences: 2 })
    const many = Array.from({ length: 7 }, (_, i) => ({
      prompt: randomTokens(5 + i, i, V),
      maxTokens: 4 + 9 * (i % 3),
    }))
    const order: number[] = []
    const run = async ({ prompt, maxTokens }: (typeof many)[number], i: number) => {
      const { tokens } = await finished(lm.generate(prompt, { ...GREEDY, maxTokens }))
      order.push(i)
      return tokens
    }
    const together = await Promise.all(many.map(run))
    expect(order.slice(0, 2)).toEqual([0, 1]) // those that were first began first
    for (const [i, each] of many.entries()) expect(together[i]).toEqual(await run(each, i))
  })

  test("go on when one is left, aborted, or not read for long", async () => {
    const lm = await model(await GEMMA(), { sequences: 4 })
    const options = { ...GREEDY, maxTokens: 80 }
    const expected = await finished(lm.generate(prompts[2]!, options))
    const unread = lm.generate(prompts[0]!, options)[Symbol.asyncIterator]()
    await unread.next()
    const controller = new AbortController()
    const aborted = expect(
      finished(lm.generate(prompts[1]!, { ...options, signal: controller.signal })),
    ).rejects.toThrow("enough")
    const left = (async () => {
      for await (const _ of lm.generate(prompts[3]!, options)) break
    })()
    const answer = lm.generate(prompts[2]!, options)
    for await (const _ of answer) if (answer.tokens.length > 20) controller.abort(new Error("enough"))
    expect(answer.tokens).toEqual(expected.tokens)
    await aborted
    await left
    const rest: number[] = []
    for await (const { tokens } of { [Symbol.asyncIterator]: () => unread }) rest.push(...tokens)
    const again = await finished(lm.generate(prompts[0]!, options))
    expect(rest).toEqual(again.tokens.slice(-rest.length))
    expect(rest.length).toBeGreaterThan(40)
  })

  test("are masked each for itself", async () => {
    const lm = await model(undefined, { sequences: 3, context: 512 })
    const schema = { enum: [{ name: "Lily" }, { name: "Tom" }] }
    const options: GenerationOptions[] = [
      { temperature: 0, maxTokens: 30 },
      { temperature: 0, maxTokens: 30, schema },
      { temperature: 0, maxTokens: 12, logprobs: 2 },
    ]
    const run = (i: number) => finished(lm.generate("Once upon a time", options[i]))
    const together = await Promise.all([run(0), run(1), run(2)])
    for (const [i, { text }] of together.entries()) expect(text).toBe((await run(i)).text)
    expect(JSON.parse(together[1]!.text)).toHaveProperty("name")
  })

  test("are to the bit what they are alone where weights are of four bits", async () => {
    const lm = await model(undefined, { sequences: 3, dtype: "q4", context: 96 })
    const stories = ["Once upon a time", "Lily found a", "The dog was very big and"]
    const run = async (prompt: string) => {
      const steps = lm.generate(prompt, { ...GREEDY, maxTokens: 24, logprobs: 1 })
      const drawn = []
      for await (const { logprobs } of steps) drawn.push(...logprobs!)
      expect(drawn.length).toBe(24)
      return drawn
    }
    const together = await Promise.all(stories.map(run))
    forgetPrompts(lm)
    for (const [i, story] of stories.entries()) expect(together[i], story).toEqual(await run(story))
  })

  test("take over what another has of the same prompt", async () => {
    const lm = await model(await GEMMA(), { sequences: 2 })
    const shared = randomTokens(100, 9, V)
    const first = lm.generate([...shared, 5, 6, 7], { ...GREEDY, maxTokens: 50 })[Symbol.asyncIterator]()
    await first.next()
    const second = await finished(lm.generate([...shared, 5, 6, 9], { ...GREEDY, maxTokens: 20 }))
    await first.return()
    // The ring goes back by a chunk at most, and the first was not far behind its prompt.
    expect(second.timings.reusedTokens).toBeGreaterThanOrEqual(shared.length)
    forgetPrompts(lm)
    const expected = await finished(lm.generate([...shared, 5, 6, 9], { ...GREEDY, maxTokens: 20 }))
    expect(expected.timings.reusedTokens).toBe(0)
    expect(second.tokens).toEqual(expected.tokens)
  })

  test("let what needs the model alone wait, and wait for it", async () => {
    const lm = await model(await GEMMA(), { sequences: 3 })
    const done: string[] = []
    const note = (what: string) => () => void done.push(what)
    await Promise.all([
      finished(lm.generate(prompts[0]!, { ...GREEDY, maxTokens: 40 })).then(note("first")),
      finished(lm.generate(prompts[1]!, { ...GREEDY, maxTokens: 30 })).then(note("second")),
      lm.score(prompts[2]!).then(note("score")),
      finished(lm.generate(prompts[1]!, { ...GREEDY, maxTokens: 1 })).then(note("third")),
    ])
    expect(done.slice(0, 2).sort()).toEqual(["first", "second"])
    expect(done.slice(2)).toEqual(["score", "third"])
  })
})

describe("memory", () => {
  test.each(["tiny-gemma3", "tiny-hgrnbit"])("of %s holds a cache for each sequence", async (name) => {
    const lm = await model(fixture(`goldens/${name}`), { sequences: 3, context: 300 })
    expect(lm.memory.cache).toBe(cacheBytes(lm.config, 300, { chunk: 16, bytesPerElement: 4, sequences: 3 }))
  })

  test("stays as it was after generations at once", async () => {
    const lm = await model(await GEMMA(), { sequences: 3 })
    const run = () => Promise.all([5, 6, 7].map((n) => finished(lm.generate([2, n], { ...GREEDY, maxTokens: 20 }))))
    await run()
    const { total } = lm.memory
    for (let i = 0; i < 20; i++) await run()
    expect(lm.memory.total).toBe(total)
  })

  test("that cannot be is refused", async () => {
    await expect(model(await GEMMA(), { sequences: 0 })).rejects.toThrow(
      "load: sequences is 0, expected a whole number from 1",
    )
    await expect(
      model(fixture("goldens/tiny-gemma3"), { sequences: 64, context: 512, limits: "default" }),
    ).resolves.toBeDefined()
  })
})
