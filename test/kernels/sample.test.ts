import { describe, expect, test } from "vitest"
import { Run } from "../../src/kernels/run.ts"
import { type Sampling, sample, sampleState } from "../../src/kernels/sample.ts"
import { rowSlice } from "../../src/kernels/tensor.ts"
import { testDevice, uniform } from "../helpers/kernels.ts"
import { draw, expectDistribution } from "../helpers/sampling.ts"
import { probabilities } from "../reference/sample.ts"

describe("sample", () => {
  const device = testDevice()

  describe("temperature 0", () => {
    test.each([1, 2, 31, 32, 33, 255, 256, 257, 1000, 262_144])("takes the largest of %i logits", async (V) => {
      const logits = uniform(V, V, 5)
      const best = logits.indexOf(logits.reduce((a, b) => Math.max(a, b)))
      expect((await draw(device(), logits, { temperature: 0 }, 1)).tokens).toEqual(Uint32Array.of(best))
    })

    test("takes the lowest id among equals, wherever they are", async () => {
      for (const [V, ids] of [
        [1000, [3, 259, 515]], // one lane
        [1000, [200, 300, 999]],
        [1000, [999, 998]],
        [600, [0, 1, 2, 256, 257]],
      ] as const) {
        const logits = new Float32Array(V).fill(-2)
        for (const id of ids) logits[id] = 7
        const first = Math.min(...ids)
        expect((await draw(device(), logits, { temperature: 0 }, 2)).tokens).toEqual(Uint32Array.of(first, first))
      }
      const equal = new Float32Array(777).fill(0.5)
      expect((await draw(device(), equal, { temperature: 0 }, 1)).tokens).toEqual(Uint32Array.of(0))
    })

    test("ignores the filters and the seed", async () => {
      const logits = uniform(300, 1, 5)
      const best = logits.indexOf(Math.max(...logits))
      const filters = { temperature: 0, topK: 3, topP: 0.1, minP: 0.9, seed: 77 }
      expect((await draw(device(), logits, filters, 1)).tokens).toEqual(Uint32Array.of(best))
    })

    test("repetition penalty lowers each token after it is drawn, positive and negative logits alike", async () => {
      const logits = Float32Array.of(4, 3.5, 3, -1, -1.1)
      const { tokens } = await draw(device(), logits, { temperature: 0, repetitionPenalty: 2 }, 4, { prompt: [4] })
      expect([...tokens]).toEqual([0, 1, 2, 0]) // 4, 3.5, 3, then 4 / 2; token 4 counts -2.2
      const negative = Float32Array.of(-1, -1.5, -3)
      const drawn = await draw(device(), negative, { temperature: 0, repetitionPenalty: 2 }, 3, { prompt: [2] })
      expect([...drawn.tokens]).toEqual([0, 1, 0])
    })
  })

  describe("with a mask", () => {
    const logits = uniform(300, 31, 3)
    const some = Array.from({ length: 300 }, (_, id) => id).filter((id) => id % 7 === 3 || (id >= 60 && id < 70))
    const left = logits.map((l, id) => (some.includes(id) ? l : Number.NEGATIVE_INFINITY))

    test("takes the largest of what is allowed, however small", async () => {
      for (const allowed of [some, [0], [299], [31, 32], [100, 200]]) {
        const best = allowed.reduce((a, b) => (logits[b]! > logits[a]! ? b : a))
        const { tokens } = await draw(device(), logits, { temperature: 0, repetitionPenalty: 1 }, 2, { allowed })
        expect([...tokens]).toEqual([best, best])
      }
    })

    test.each<[string, Partial<Sampling>]>([
      ["no filter", {}],
      ["top-k counts what is allowed", { topK: 12 }],
      ["top-p weighs what is allowed", { topP: 0.7 }],
      ["min-p is that of the likeliest allowed", { minP: 0.3 }],
      ["all filters, warm", { temperature: 2, topK: 40, topP: 0.9, minP: 0.01 }],
    ])("draws by the probabilities of the definition: %s", async (_, filters) => {
      const { tokens } = await draw(device(), logits, filters, 400, { allowed: some })
      expectDistribution(tokens, probabilities(left, filters))
    })

    test("draws one that is allowed at any temperature and penalty, and of any vocabulary", async () => {
      for (const filters of [{ temperature: 1000 }, { temperature: 1e-30 }, { repetitionPenalty: 0.01, topK: 9 }]) {
        const { tokens } = await draw(device(), logits, filters, 20, { allowed: [5, 6] })
        for (const token of tokens) expect([5, 6]).toContain(token)
      }
      const V = 262_144
      const { tokens } = await draw(device(), uniform(V, 3, 9), { topK: 64, topP: 0.95 }, 4, { allowed: [7, V - 1] })
      for (const token of tokens) expect([7, V - 1]).toContain(token)
    })

    test("draws what it would without, if all is allowed", async () => {
      const all = Array.from({ length: 300 }, (_, id) => id)
      const filters = { topK: 50, topP: 0.9, seed: 12 }
      expect((await draw(device(), logits, filters, 30, { allowed: all })).tokens).toEqual(
        (await draw(device(), logits, filters, 30)).tokens,
      )
    })
  })

  test("advances cursor, ids, output and seen", async () => {
    const logits = uniform(70, 19, 2)
    const prompt = [3, 69, 40]
    const { tokens, ids, cursor, seen } = await draw(device(), logits, {}, 6, { prompt })
    expect(ids).toBe(tokens[5])
    expect(cursor).toEqual([prompt.length - 1 + 6, 6])
    const expected = new Uint32Array(3)
    for (const id of [...prompt, ...tokens]) expected[id >> 5]! |= 1 << (id % 32)
    expect(seen).toEqual(expected)
  })

  test("gives an id of the vocabulary for NaN and infinite logits", async () => {
    const V = 100
    const cases = [
      new Float32Array(V).fill(Number.NaN),
      new Float32Array(V).fill(Number.NEGATIVE_INFINITY),
      new Float32Array(V).fill(Number.POSITIVE_INFINITY),
      uniform(V, 20).map((x, i) => (i % 7 === 0 ? Number.NaN : x)),
    ]
    for (const logits of cases) {
      for (const filters of [{ temperature: 0 }, {}, { topK: 5, topP: 0.9, minP: 0.1, repetitionPenalty: 1.5 }]) {
        const { tokens, ids } = await draw(device(), logits, filters, 4)
        for (const token of [...tokens, ids]) expect(token).toBeLessThan(V)
      }
    }
  })

  test("never takes a token of logit -inf while there are others", async () => {
    const logits = new Float32Array(60).fill(Number.NEGATIVE_INFINITY)
    logits.set([1, 1, 1], 30)
    for (const filters of [{}, { topK: 10 }, { topP: 0.99 }, { minP: 0.01 }]) {
      const { tokens } = await draw(device(), logits, filters, 30)
      expect(new Set(tokens), JSON.stringify(filters)).toEqual(new Set([30, 31, 32]))
    }
  })

  test("refuses more rows than sequences and a state of another vocabulary", () => {
    const run = new Run(device())
    const state = sampleState(device(), { V: 100, context: 4, sequences: 2 })
    expect(() => sample(run, run.empty([3, 100]), state)).toThrow(
      new RangeError("sample: logits is [3, 100], expected [n, V] with at most 2 rows"),
    )
    expect(() => sample(run, run.empty([1, 200]), state)).toThrow(
      new RangeError("sample: seen is [2, 4], expected [2, 7]"),
    )
    expect(() => sample(run, rowSlice(run.empty([2, 128]), 1, 2), state)).not.toThrow()
  })
})
