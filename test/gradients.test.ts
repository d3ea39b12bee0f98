import { readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, load } from "../src/index.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { fixture, golden } from "./helpers/golden.ts"

describe.each(["tiny-gemma1", "tiny-gemma2", "tiny-gemma3"])("lossAndGradients of %s", (name) => {
  const folder = `goldens/${name}`
  const expected = golden(folder)
  const json = JSON.parse(readFileSync(fixture(`${folder}/golden.json`), "utf8"))
  const { ids, labels_masked, ids_b } = json.train as { ids: number[]; labels_masked: number[]; ids_b: number[] }
  const names = Object.keys(json.tensors)
  let lm: LanguageModel
  beforeAll(async () => {
    lm = await load(fixture(folder), { device: testDeviceKind(), context: 64 })
  })
  afterAll(() => lm?.dispose())

  function hold(what: string, loss: number, gradients: ReadonlyMap<string, Float32Array>): void {
    const lossName = what === "grad" ? "train.loss" : `train.loss_${what.slice("grad_".length)}`
    const { data, tolerance } = expected.tensor(lossName)
    expectClose([loss], data, { absolute: tolerance }, { what: lossName })
    const listed = names.filter((each) => each.startsWith(`train.${what}.`))
    expect(listed.length).toBeGreaterThan(0)
    for (const each of listed) {
      const gradient = gradients.get(each.slice(`train.${what}.`.length))
      expect(gradient, each).toBeDefined()
      const { data, tolerance } = expected.tensor(each)
      expectClose(gradient!, data, { absolute: tolerance }, { what: each })
    }
  }

  test("are the golden's, for every parameter", async () => {
    const { loss, gradients } = await lm.lossAndGradients(ids)
    expect([...gradients.keys()].sort()).toEqual(
      names
        .filter((each) => each.startsWith("train.grad."))
        .map((each) => each.slice("train.grad.".length))
        .sort(),
    )
    hold("grad", loss, gradients)
  })

  test("leave out masked labels", async () => {
    const { loss, gradients } = await lm.lossAndGradients(ids, { labels: labels_masked })
    hold("grad_masked", loss, gradients)
  })

  test("of a batch do not let one sequence see the other, and average over all targets", async () => {
    const { loss, gradients } = await lm.lossAndGradients([ids, ids_b], { labels: [labels_masked, ids_b] })
    hold("grad_batch", loss, gradients)
  })

  test("are the same to the bit when each layer is computed again", async () => {
    const kept = await lm.lossAndGradients([ids, ids_b])
    const again = await lm.lossAndGradients([ids, ids_b], { recompute: true })
    expect(again.loss).toBe(kept.loss)
    for (const [name, gradient] of kept.gradients) expect(again.gradients.get(name), name).toEqual(gradient)
  })

  test("give only what is asked for", async () => {
    const wrt = ["model.layers.1.self_attn.k_proj.weight"]
    const all = await lm.lossAndGradients(ids)
    const one = await lm.lossAndGradients(ids, { wrt })
    expect([...one.gradients.keys()]).toEqual(wrt)
    expect([...one.gradients.get(wrt[0]!)!]).toEqual([...all.gradients.get(wrt[0]!)!])
    await expect(lm.lossAndGradients(ids, { wrt: ["model.nothing"] })).rejects.toThrow(/wrt is model.nothing/)
  })

  test("refuse labels that cannot be meant", async () => {
    const refused = (labels: number[]) => expect(lm.lossAndGradients([2, 3, 4], { labels })).rejects
    await refused([2, 3]).toThrow("lossAndGradients: labels has 2 entries, expected 3 as ids")
    await refused([2, 3, 100_000]).toThrow(/label is 100000, expected -100 or 0 to/)
    await refused([2, -100, -100]).toThrow(/labels has no target, expected at least one/)
    await expect(lm.lossAndGradients([])).rejects.toThrow(/prompt: is empty/)
    const long = Array.from({ length: 40 }, () => 5)
    await expect(lm.lossAndGradients([long, long])).rejects.toThrow(/batch has 80 tokens, expected at most the context/)
  })

  test("leave no GPU bytes behind, and generate works afterwards as before", async () => {
    const run = async () => {
      const answer = lm.generate(ids, { temperature: 0, maxTokens: 8, ignoreEos: true })
      for await (const _ of answer);
      return answer.tokens
    }
    const before = await run()
    const bytes = lm.memory
    await lm.lossAndGradients(ids)
    expect(lm.memory.weights + lm.memory.cache).toBe(bytes.weights + bytes.cache)
    expect(await run()).toEqual(before)
  })
})
