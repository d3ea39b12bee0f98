import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { cacheBytes, type LanguageModel, type LoadOptions } from "../src/index.ts"
import { expectClose } from "./helpers/compare.ts"
import { fixture, golden } from "./helpers/golden.ts"
import { modelsOnOneDevice } from "./helpers/training.ts"

const FOLDER = "goldens/tiny-hgrnbit"
const expected = golden(FOLDER)
const { random, train } = JSON.parse(readFileSync(fixture(`${FOLDER}/golden.json`), "utf8")) as {
  random: { ids: number[] }
  train: { ids: number[] }
}

describe("hgrn_bit", () => {
  const openModel = modelsOnOneDevice()
  let lm: LanguageModel

  const open = async (options: LoadOptions = {}) => {
    lm = await openModel(fixture(FOLDER), { context: 128, chunk: 32, ...options })
    return lm
  }

  test.each(expected.prompts.map(({ ids }, i) => ({ i, T: ids.length })))(
    "logits of prompt $i, $T tokens, are the golden's",
    async ({ i }) => {
      const { data, tolerance } = expected.tensor(`prompt.${i}.logits`)
      const logits = await (await open()).logits(expected.prompts[i]!.ids)
      expectClose(logits.data, data, { absolute: tolerance }, { what: "logits" })
    },
  )

  test("logits where activations sit on rounding edges stay within the golden's allowance", async () => {
    const { data, tolerance } = expected.tensor("random.logits")
    const logits = await (await open()).logits(random.ids)
    expectClose(logits.data, data, { absolute: tolerance }, { what: "random logits" })
  })

  test.each(expected.greedy.map((run, i) => ({ i, ...run })))(
    "greedy run $i is the golden's, token by token",
    async ({ ids, new_tokens }) => {
      const answer = (await open()).generate(ids, { temperature: 0, maxTokens: new_tokens.length, ignoreEos: true })
      for await (const _ of answer);
      expect([...answer.tokens]).toEqual(new_tokens)
    },
  )

  test("hidden states of every layer are the golden's", async () => {
    const states = await (await open()).hiddenStates(expected.prompts[2]!.ids)
    expect(states.length).toBe(lm.config.numLayers + 2)
    states.forEach((state, i) => {
      const what = i === states.length - 1 ? "hidden.norm" : `hidden.${i}`
      const { data, tolerance } = expected.tensor(what)
      expectClose(state.data, data, { absolute: tolerance }, { what })
    })
  })

  test("loss and every gradient are the golden's", async () => {
    await open({ dtype: "f32" })
    const { loss, gradients } = await lm.lossAndGradients(train.ids)
    const { data, tolerance } = expected.tensor("train.loss")
    expect(Math.abs(loss - data[0]!)).toBeLessThanOrEqual(tolerance)
    expect(gradients.size).toBe(65)
    for (const [name, gradient] of gradients) {
      const { data, tolerance } = expected.tensor(`train.grad.${name}`)
      expectClose(gradient, data, { absolute: tolerance }, { what: name })
    }
  })

  test("recomputed layers give the same gradients, to the bit", async () => {
    await open({ dtype: "f32" })
    const plain = await lm.lossAndGradients(train.ids)
    const again = await lm.lossAndGradients(train.ids, { recompute: true })
    expect(again.loss).toBe(plain.loss)
    for (const [name, gradient] of again.gradients) expect(gradient).toEqual(plain.gradients.get(name))
  })

  test("packed sequences have the loss and the gradients of each alone", async () => {
    await open({ dtype: "f32" })
    const [a, b] = [train.ids, expected.prompts[2]!.ids]
    const both = await lm.lossAndGradients([a, b])
    const [one, two] = [await lm.lossAndGradients(a), await lm.lossAndGradients(b)]
    const [n, m] = [a.length - 1, b.length - 1]
    expect(both.loss).toBeCloseTo((one.loss * n + two.loss * m) / (n + m), 5)
    for (const [name, gradient] of both.gradients) {
      const [first, second] = [one.gradients.get(name)!, two.gradients.get(name)!]
      const sum = gradient.map((_, i) => (first[i]! * n + second[i]! * m) / (n + m))
      expectClose(gradient, sum, { absolute: 2e-6 }, { what: name })
    }
  })

  test("a sequence in pieces has the logits of the whole, whatever the pieces", async () => {
    const ids = expected.prompts[3]!.ids
    const { data, tolerance } = expected.tensor("prompt.3.logits")
    for (const chunk of [1, 7, 32, 33, 64]) {
      await open({ chunk })
      expectClose((await lm.logits(ids)).data, data, { absolute: tolerance }, { what: `chunks of ${chunk}` })
    }
  })

  test("what a sequence leaves behind does not grow with the context", async () => {
    for (const context of [16, 4096]) {
      await open({ context })
      expect(lm.memory.cache).toBe(4 * 64 * 4)
      expect(cacheBytes(lm.config, context, { chunk: 32, bytesPerElement: 4 })).toBe(lm.memory.cache)
    }
  })

  test("a new sequence begins with an empty state", async () => {
    await open()
    const first = await lm.logits(expected.prompts[2]!.ids)
    await lm.logits(expected.prompts[3]!.ids)
    expect((await lm.logits(expected.prompts[2]!.ids)).data).toEqual(first.data)
  })

  test("weights kept in f32 compute what packed ones do, to the bit", async () => {
    const ids = expected.prompts[3]!.ids
    const packed = await (await open()).logits(ids)
    expect((await (await open({ dtype: "f32" })).logits(ids)).data).toEqual(packed.data)
  })

  test("packed weights cannot be asked for gradients", async () => {
    await open()
    await expect(lm.lossAndGradients(train.ids, { wrt: ["lm_head.weight"] })).rejects.toThrow(
      /lossAndGradients: wrt is lm_head.weight, expected .*dtype f32/,
    )
  })

  test("activations as they are give other logits than those rounded to eight bits, and near ones", async () => {
    const { data } = expected.tensor("prompt.3.logits")
    const logits = await (await open({ actQuant: "none" })).logits(expected.prompts[3]!.ids)
    const far = Math.max(...logits.data.map((value, i) => Math.abs(value - data[i]!)))
    expect(far).toBeGreaterThan(1e-3)
    expect(far).toBeLessThan(0.3)
  })
})
