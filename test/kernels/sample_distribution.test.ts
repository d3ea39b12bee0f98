import { describe, expect, test } from "vitest"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { resetSampleState, type Sampling, sample, sampleState } from "../../src/kernels/sample.ts"
import { expectClose } from "../helpers/compare.ts"
import { random, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { readFixture } from "../helpers/safetensors_fixture.ts"
import { draw, expectDistribution, PLAIN } from "../helpers/sampling.ts"
import { probabilities } from "../reference/sample.ts"

/** What the goldens were made with. */
const GOLDEN_FILTERS = {
  temp0_7: { temperature: 0.7 },
  top_k20: { topK: 20 },
  top_p0_9: { topP: 0.9 },
  min_p0_05: { minP: 0.05 },
  rep1_3: { repetitionPenalty: 1.3 },
  chain: { repetitionPenalty: 1.1, temperature: 0.8, topK: 64, topP: 0.95 },
}

const golden = readFixture("goldens/ops/golden.safetensors")

const goldenLogits = (row: number) => Float32Array.from(golden("teacher_logits").subarray(row * 256, (row + 1) * 256))

const HISTORY = [
  [8, 62, 235, 14, 238, 5],
  [178, 83, 233, 72, 191, 227],
  [210, 84, 249, 78, 137, 113],
]

describe("the definition of sampling", () => {
  test.each(Object.entries(GOLDEN_FILTERS))("gives the probabilities of transformers: %s", (name, filters) => {
    for (let row = 0; row < 3; row++) {
      const expected = golden(`sampling.${name}`).subarray(row * 256, (row + 1) * 256)
      const actual = probabilities(goldenLogits(row), filters, HISTORY[row])
      expectClose(actual, expected, { absolute: 1e-7 }, { what: `probabilities ${name}` })
      for (const [id, p] of expected.entries()) expect(actual[id]! > 0, `token ${id}`).toBe(p > 0)
    }
  })
})

describe("sample", () => {
  const device = testDevice()

  describe("temperature above 0", () => {
    const near = uniform(100, 11, 1)
    const wide = uniform(100, 12, 4)

    test.each<[string, Partial<Sampling>, Float32Array<ArrayBuffer>, number]>([
      ["temperature 1", {}, wide, 1000],
      ["temperature 0.5", { temperature: 0.5 }, wide, 400],
      ["temperature 3", { temperature: 3 }, wide, 400],
      ["top-k 10", { topK: 10 }, near, 400],
      ["top-k 99 of 100", { topK: 99 }, near, 400],
      ["top-k 1000 of 100", { topK: 1000 }, near, 400],
      ["top-p 0.9", { topP: 0.9 }, wide, 400],
      ["top-p 0.3", { topP: 0.3 }, near, 400],
      ["min-p 0.2", { minP: 0.2 }, wide, 400],
      ["top-k 20, top-p 0.8", { topK: 20, topP: 0.8 }, near, 400],
      ["all filters", { temperature: 0.8, topK: 40, topP: 0.9, minP: 0.1 }, wide, 400],
    ])("draws by the probabilities of the definition: %s", async (_, filters, logits, count) => {
      const { tokens } = await draw(device(), logits, filters, count)
      const p = probabilities(logits, filters)
      expectDistribution(tokens, p)
      if (filters.topK !== 99 && filters.topK !== 1000 && logits === near)
        expect(new Set(tokens).size).toBe(p.filter((x) => x > 0).length)
    })

    test.each(Object.entries(GOLDEN_FILTERS))(
      "draws by the probabilities of transformers: %s",
      async (name, filters) => {
        for (let row = 0; row < 3; row++) {
          const p = golden(`sampling.${name}`).subarray(row * 256, (row + 1) * 256)
          const { tokens } = await draw(device(), goldenLogits(row), { ...filters, seed: row }, 100, {
            prompt: HISTORY[row]!,
            forget: "repetitionPenalty" in filters,
          })
          expectDistribution(tokens, Float64Array.from(p))
        }
      },
    )

    test("repetition penalty takes part in the distribution", async () => {
      const logits = uniform(40, 13, 3)
      const prompt = [1, 5, 9, 9, 33, 39]
      const filters = { repetitionPenalty: 1.7, temperature: 1.2 }
      const { tokens } = await draw(device(), logits, filters, 400, { prompt, forget: true })
      expectDistribution(tokens, probabilities(logits, filters, prompt))
    })

    test("draws one after another independently", async () => {
      const p = probabilities(Float32Array.of(0, 0.5, 1), {})
      const { tokens } = await draw(device(), Float32Array.of(0, 0.5, 1), {}, 1000)
      const pairs = Uint32Array.from({ length: 999 }, (_, i) => tokens[i]! * 3 + tokens[i + 1]!)
      expectDistribution(
        pairs,
        Float64Array.from({ length: 9 }, (_, i) => p[Math.floor(i / 3)]! * p[i % 3]!),
      )
    })

    test("draws the same for the same seed, else for another, however large", async () => {
      const logits = uniform(500, 14, 1)
      const seeds = [0, 1, 2, 2 ** 31, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]
      const all: string[] = []
      for (const seed of seeds) {
        const [a, b] = [await draw(device(), logits, { seed }, 20), await draw(device(), logits, { seed }, 20)]
        expect(a.tokens).toEqual(b.tokens)
        all.push(a.tokens.join())
      }
      expect(new Set(all).size).toBe(seeds.length)
    })

    test("goes on with the noise where an earlier generation stopped", async () => {
      const V = 64
      const logits = uniform(V, 15, 1)
      const whole = (await draw(device(), logits, { seed: 9 }, 8)).tokens
      const x = tensor(device(), [1, V], logits)
      const state = sampleState(device(), { V, context: 8 })
      resetSampleState(device(), state, 0, [0], { ...PLAIN, seed: 9 }, { history: [0], drawn: 5 })
      const run = new Run(device())
      const pool = new ScratchPool(device())
      sample(run, x, state)
      const plan = run.plan(pool)
      for (let i = 0; i < 3; i++) plan.submit()
      expect(new Uint32Array(await device().read(state.output)).subarray(0, 3)).toEqual(whole.subarray(5))
      plan.dispose()
      pool.dispose()
    })

    test("takes the likeliest alone for top-k 1, a tiny top-p, min-p 1 and a tiny temperature", async () => {
      const logits = uniform(300, 16, 20)
      const best = logits.indexOf(Math.max(...logits))
      for (const filters of [
        { topK: 1 },
        { topP: 1e-6 },
        { topP: 0 },
        { minP: 1 },
        { temperature: 1e-6 },
        { temperature: 1e-30 },
        { temperature: 1e-38 },
      ]) {
        const { tokens } = await draw(device(), logits, filters, 10)
        expect([...new Set(tokens)], JSON.stringify(filters)).toEqual([best])
      }
    })

    test("keeps all of equal logits, for top-k cannot tell them apart", async () => {
      const { tokens } = await draw(device(), new Float32Array(50).fill(2), { topK: 5 }, 400)
      expectDistribution(tokens, new Float64Array(50).fill(1 / 50))
    })

    test("never draws what weighs nothing, from a vocabulary of 262,144", async () => {
      const logits = new Float32Array(262_144)
      logits[200_001] = 40 // the others together weigh 1e-12
      const { tokens } = await draw(device(), logits, {}, 10)
      expect([...new Set(tokens)]).toEqual([200_001])
    })

    test("filters a vocabulary of 262,144 by top-k 64 and top-p 0.5", async () => {
      const logits = uniform(262_144, 17, 1) // nearly flat: an unfiltered draw would be among the 64 once in 4000
      const filters = { topK: 64, topP: 0.5 }
      const p = probabilities(logits, filters)
      expect(p.filter((x) => x > 0).length).toBe(32)
      expectDistribution((await draw(device(), logits, filters, 4)).tokens, p)
    })

    test("filters a vocabulary of 262,144 by top-k 64 and top-p 0.95, as a model's logits lie", async () => {
      const next = random(18)
      const logits = Float32Array.from({ length: 262_144 }, () => Math.log(next()) * -1.5)
      const filters = { topK: 64, topP: 0.95 }
      expectDistribution((await draw(device(), logits, filters, 4)).tokens, probabilities(logits, filters))
    })
  })
})
