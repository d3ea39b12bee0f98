import { readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, load } from "../src/index.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture, golden } from "./helpers/golden.ts"

const device = testDeviceKind()

async function greedy(lm: LanguageModel, ids: readonly number[], maxTokens: number): Promise<number[]> {
  const answer = lm.generate(ids, { temperature: 0, maxTokens, ignoreEos: true })
  for await (const _ of answer);
  return [...answer.tokens]
}

const FOLDERS = [
  "tiny-gemma1",
  "tiny-gemma2",
  "tiny-gemma3",
  "tiny-gemma3-bf16",
  "tiny-gemma3-f16",
  "tiny-gemma3-mm",
  "tiny-gemma3-rope8-sharded",
]

describe.each(FOLDERS)("%s", (name) => {
  const expected = golden(`goldens/${name}`)
  let lm: LanguageModel
  beforeAll(async () => {
    lm = await load(fixture(`goldens/${name}`), { device, context: 512, chunk: 32 })
  })
  afterAll(() => lm?.dispose())

  test.each(expected.prompts.map(({ ids }, i) => ({ i, T: ids.length })))(
    "logits of prompt $i, $T tokens, are the golden's",
    async ({ i }) => {
      const { data, tolerance, shape } = expected.tensor(`prompt.${i}.logits`)
      const logits = await lm.logits(expected.prompts[i]!.ids)
      expect(logits.shape).toEqual(shape)
      expectClose(logits.data, data, { absolute: tolerance }, { what: "logits" })
    },
  )

  test.each(expected.greedy.map((run, i) => ({ i: `${i}`, ...run })))(
    "greedy run $i is the golden's, token by token",
    async ({ ids, new_tokens }) => {
      expect(await greedy(lm, ids, new_tokens.length)).toEqual(new_tokens)
    },
  )

  if (expected.has("hidden.0")) {
    test("hidden states of every layer are the golden's", async () => {
      const first = expected.tensor("hidden.0")
      const ids = expected.prompts.find((prompt) => prompt.ids.length === first.shape[0])!.ids
      const states = await lm.hiddenStates(ids)
      expect(states.length).toBe(lm.config.numLayers + 2)
      states.forEach((state, i) => {
        const what = i === states.length - 1 ? "hidden.norm" : `hidden.${i}`
        const { data, tolerance } = expected.tensor(what)
        expectClose(state.data, data, { absolute: tolerance }, { what })
      })
    })
  }
})

describe("storyteller", () => {
  const expected = golden("storyteller")
  let lm: LanguageModel
  beforeAll(async () => {
    lm = await load(undefined, { device })
  })
  afterAll(() => lm?.dispose())

  test.each(expected.prompts.map(({ what }, i) => ({ i, what })))(
    "logits of «$what» are the golden's",
    async ({ i }) => {
      const { data, tolerance, shape } = expected.tensor(`prompt.${i}.logits`)
      const logits = await lm.logits(expected.prompts[i]!.ids, { last: shape[0]! })
      expectClose(logits.data, data, { absolute: tolerance }, { what: "logits" })
    },
  )

  test.each(expected.greedy.map((run, i) => ({ i: `${i}`, ...run })))(
    "greedy run $i is the golden's up to token $exact_until",
    async ({ ids, new_tokens, exact_until = 0 }) => {
      const tokens = await greedy(lm, ids, new_tokens.length)
      expect(exact_until).toBeGreaterThan(128) // past the window
      expect(tokens.slice(0, exact_until)).toEqual(new_tokens.slice(0, exact_until))
    },
  )

  test("score gives the golden's mean loss", async () => {
    for (const { ids, nll_mean } of expected.prompts as { ids: number[]; nll_mean: number }[]) {
      expect((await lm.score(ids)).loss).toBeCloseTo(nll_mean, 4)
    }
  })
})

describe("stories260K", () => {
  const expected = JSON.parse(readFileSync(fixture("stories260K/golden.json"), "utf8"))
  let lm: LanguageModel
  beforeAll(async () => {
    lm = await load(fixture("stories260K"), { device })
  })
  afterAll(() => lm?.dispose())

  test("logits of its prompt are the golden's", async () => {
    const { data } = await lm.logits(expected.prompt_ids, { last: 1 })
    expectClose(data, Float32Array.from(expected.last_logits), { absolute: 2e-4 }, { what: "logits" })
  })

  test("continues BOS greedily with the golden's tokens and text", async () => {
    const [bos, ...rest] = expected.greedy_ids_from_bos
    const answer = lm.generate([bos], { temperature: 0, maxTokens: rest.length, ignoreEos: true })
    for await (const _ of answer);
    expect(answer.tokens).toEqual(rest)
    expect(answer.text).toBe(expected.greedy_text)
  })
})

async function dispatches(folder: string | undefined, context: number) {
  const lm = await load(folder && fixture(folder), { device, context, chunk: 16 })
  const { dispatchesPerToken, config } = lm
  lm.dispose()
  return { dispatchesPerToken, layers: config.numLayers }
}

test.each(["goldens/tiny-gemma1", "goldens/tiny-gemma2", "goldens/tiny-gemma3", "stories260K", undefined])(
  "a decode step of %s takes at most 8 dispatches a layer and 6 beside",
  async (folder) => {
    const { dispatchesPerToken, layers } = await dispatches(folder, 64)
    expect(dispatchesPerToken).toBeLessThanOrEqual(8 * layers + 6)
  },
)

test.each(["tiny-gemma1", "tiny-gemma2", "tiny-gemma3"])(
  "a decode step of %s takes no dispatch more where keys are attended in parts",
  async (name) => {
    expect(await dispatches(`goldens/${name}`, 2000)).toEqual(await dispatches(`goldens/${name}`, 64))
  },
)
