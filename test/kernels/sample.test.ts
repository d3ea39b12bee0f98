import { describe, expect, test } from "vitest"
import { NO_POSITION } from "../../src/kernels/cursors.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { resetSampleState, type Sampling, sample, sampleState } from "../../src/kernels/sample.ts"
import { rowSlice } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { free, random, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { readFixture } from "../helpers/safetensors_fixture.ts"
import { probabilities } from "../reference/sample.ts"

const PLAIN: Sampling = { repetitionPenalty: 1, temperature: 1, topK: 0, topP: 1, minP: 0, seed: 1 }

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

  interface Drawn {
    readonly tokens: Uint32Array
    readonly ids: number
    readonly cursor: readonly number[]
    readonly seen: Uint32Array
  }

  interface DrawOptions {
    readonly prompt?: readonly number[]
    /** Every draw sees the prompt alone. */
    readonly forget?: boolean
    /** The tokens that a mask leaves. */
    readonly allowed?: readonly number[]
  }

  function maskOf(ids: readonly number[], V: number): Uint32Array<ArrayBuffer> {
    const words = new Uint32Array(Math.ceil(V / 32))
    for (const id of ids) words[Math.floor(id / 32)]! |= 1 << (id % 32)
    return words
  }

  /** Draws from the same logits again and again, in one submit. */
  async function draw(
    logits: Float32Array<ArrayBuffer>,
    settings: Partial<Sampling>,
    count: number,
    { prompt = [0], forget = false, allowed }: DrawOptions = {},
  ): Promise<Drawn> {
    const V = logits.length
    const x = tensor(device(), [1, V], logits)
    const state = sampleState(device(), { V, context: count })
    resetSampleState(device(), state, 0, prompt, { ...PLAIN, ...settings })
    const seen = tensor(device(), state.seen.shape, new Uint32Array(await device().read(state.seen)))
    const run = new Run(device())
    const pool = new ScratchPool(device())
    const mask = allowed && tensor(device(), state.seen.shape, maskOf(allowed, V))
    sample(run, x, state, mask)
    const plan = run.plan(pool)
    const encoder = device().gpu.createCommandEncoder()
    if (forget) {
      for (let i = 0; i < count; i++) {
        encoder.copyBufferToBuffer(seen.storage.buffer!, state.seen.storage.buffer!)
        const pass = encoder.beginComputePass()
        plan.encode(pass)
        pass.end()
      }
    } else {
      const pass = encoder.beginComputePass()
      for (let i = 0; i < count; i++) plan.encode(pass)
      pass.end()
    }
    device().gpu.queue.submit([encoder.finish()])
    const read = async (name: "output" | "ids" | "cursor" | "seen") => new Uint32Array(await device().read(state[name]))
    const drawn = {
      tokens: await read("output"),
      ids: (await read("ids"))[0]!,
      cursor: [...(await read("cursor"))],
      seen: await read("seen"),
    }
    plan.dispose()
    pool.dispose()
    free(device(), x, seen, ...(mask ? [mask] : []), ...Object.values(state))
    return drawn
  }

  /** Fails when a token of probability 0 was drawn, or when the frequencies are too far from the probabilities. */
  function expectDistribution(tokens: Uint32Array, p: Float64Array): void {
    const counts = new Float64Array(p.length)
    for (const token of tokens) counts[token]!++
    let [chi2, cells] = [0, 0]
    let [restCount, restExpected] = [0, 0]
    for (const [id, probability] of p.entries()) {
      const expected = probability * tokens.length
      if (expected === 0) expect(counts[id], `draws of token ${id}, which is filtered out`).toBe(0)
      if (expected < 5) {
        restCount += counts[id]!
        restExpected += expected
      } else {
        chi2 += (counts[id]! - expected) ** 2 / expected
        cells++
      }
    }
    if (restExpected >= 1) {
      chi2 += (restCount - restExpected) ** 2 / restExpected
      cells++
    }
    // The mean of chi-square is cells - 1, its variance twice that: five deviations and a little.
    expect(chi2, `chi-square over ${cells} cells`).toBeLessThan(cells + 5 * Math.sqrt(2 * cells) + 5)
  }

  describe("temperature 0", () => {
    test.each([1, 2, 31, 32, 33, 255, 256, 257, 1000, 262_144])("takes the largest of %i logits", async (V) => {
      const logits = uniform(V, V, 5)
      const best = logits.indexOf(logits.reduce((a, b) => Math.max(a, b)))
      expect((await draw(logits, { temperature: 0 }, 1)).tokens).toEqual(Uint32Array.of(best))
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
        expect((await draw(logits, { temperature: 0 }, 2)).tokens).toEqual(Uint32Array.of(first, first))
      }
      const equal = new Float32Array(777).fill(0.5)
      expect((await draw(equal, { temperature: 0 }, 1)).tokens).toEqual(Uint32Array.of(0))
    })

    test("ignores the filters and the seed", async () => {
      const logits = uniform(300, 1, 5)
      const best = logits.indexOf(Math.max(...logits))
      const filters = { temperature: 0, topK: 3, topP: 0.1, minP: 0.9, seed: 77 }
      expect((await draw(logits, filters, 1)).tokens).toEqual(Uint32Array.of(best))
    })

    test("repetition penalty lowers each token after it is drawn, positive and negative logits alike", async () => {
      const logits = Float32Array.of(4, 3.5, 3, -1, -1.1)
      const { tokens } = await draw(logits, { temperature: 0, repetitionPenalty: 2 }, 4, { prompt: [4] })
      expect([...tokens]).toEqual([0, 1, 2, 0]) // 4, 3.5, 3, then 4 / 2; token 4 counts -2.2
      const negative = Float32Array.of(-1, -1.5, -3)
      const drawn = await draw(negative, { temperature: 0, repetitionPenalty: 2 }, 3, { prompt: [2] })
      expect([...drawn.tokens]).toEqual([0, 1, 0])
    })
  })

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
      const { tokens } = await draw(logits, filters, count)
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
          const { tokens } = await draw(goldenLogits(row), { ...filters, seed: row }, 100, {
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
      const { tokens } = await draw(logits, filters, 400, { prompt, forget: true })
      expectDistribution(tokens, probabilities(logits, filters, prompt))
    })

    test("draws one after another independently", async () => {
      const p = probabilities(Float32Array.of(0, 0.5, 1), {})
      const { tokens } = await draw(Float32Array.of(0, 0.5, 1), {}, 1000)
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
        const [a, b] = [await draw(logits, { seed }, 20), await draw(logits, { seed }, 20)]
        expect(a.tokens).toEqual(b.tokens)
        all.push(a.tokens.join())
      }
      expect(new Set(all).size).toBe(seeds.length)
    })

    test("goes on with the noise where an earlier generation stopped", async () => {
      const V = 64
      const logits = uniform(V, 15, 1)
      const whole = (await draw(logits, { seed: 9 }, 8)).tokens
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
        const { tokens } = await draw(logits, filters, 10)
        expect([...new Set(tokens)], JSON.stringify(filters)).toEqual([best])
      }
    })

    test("keeps all of equal logits, for top-k cannot tell them apart", async () => {
      const { tokens } = await draw(new Float32Array(50).fill(2), { topK: 5 }, 400)
      expectDistribution(tokens, new Float64Array(50).fill(1 / 50))
    })

    test("never draws what weighs nothing, from a vocabulary of 262,144", async () => {
      const logits = new Float32Array(262_144)
      logits[200_001] = 40 // the others together weigh 1e-12
      const { tokens } = await draw(logits, {}, 10)
      expect([...new Set(tokens)]).toEqual([200_001])
    })

    test("filters a vocabulary of 262,144 by top-k 64 and top-p 0.5", async () => {
      const logits = uniform(262_144, 17, 1) // nearly flat: an unfiltered draw would be among the 64 once in 4000
      const filters = { topK: 64, topP: 0.5 }
      const p = probabilities(logits, filters)
      expect(p.filter((x) => x > 0).length).toBe(32)
      expectDistribution((await draw(logits, filters, 4)).tokens, p)
    })

    test("filters a vocabulary of 262,144 by top-k 64 and top-p 0.95, as a model's logits lie", async () => {
      const next = random(18)
      const logits = Float32Array.from({ length: 262_144 }, () => Math.log(next()) * -1.5)
      const filters = { topK: 64, topP: 0.95 }
      expectDistribution((await draw(logits, filters, 4)).tokens, probabilities(logits, filters))
    })
  })

  describe("with a mask", () => {
    const logits = uniform(300, 31, 3)
    const some = Array.from({ length: 300 }, (_, id) => id).filter((id) => id % 7 === 3 || (id >= 60 && id < 70))
    const left = logits.map((l, id) => (some.includes(id) ? l : Number.NEGATIVE_INFINITY))

    test("takes the largest of what is allowed, however small", async () => {
      for (const allowed of [some, [0], [299], [31, 32], [100, 200]]) {
        const best = allowed.reduce((a, b) => (logits[b]! > logits[a]! ? b : a))
        const { tokens } = await draw(logits, { temperature: 0, repetitionPenalty: 1 }, 2, { allowed })
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
      const { tokens } = await draw(logits, filters, 400, { allowed: some })
      expectDistribution(tokens, probabilities(left, filters))
    })

    test("draws one that is allowed at any temperature and penalty, and of any vocabulary", async () => {
      for (const filters of [{ temperature: 1000 }, { temperature: 1e-30 }, { repetitionPenalty: 0.01, topK: 9 }]) {
        const { tokens } = await draw(logits, filters, 20, { allowed: [5, 6] })
        for (const token of tokens) expect([5, 6]).toContain(token)
      }
      const V = 262_144
      const { tokens } = await draw(uniform(V, 3, 9), { topK: 64, topP: 0.95 }, 4, { allowed: [7, V - 1] })
      for (const token of tokens) expect([7, V - 1]).toContain(token)
    })

    test("draws what it would without, if all is allowed", async () => {
      const all = Array.from({ length: 300 }, (_, id) => id)
      const filters = { topK: 50, topP: 0.9, seed: 12 }
      expect((await draw(logits, filters, 30, { allowed: all })).tokens).toEqual(
        (await draw(logits, filters, 30)).tokens,
      )
    })
  })

  test("advances cursor, ids, output and seen", async () => {
    const logits = uniform(70, 19, 2)
    const prompt = [3, 69, 40]
    const { tokens, ids, cursor, seen } = await draw(logits, {}, 6, { prompt })
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
        const { tokens, ids } = await draw(logits, filters, 4)
        for (const token of [...tokens, ids]) expect(token).toBeLessThan(V)
      }
    }
  })

  test("never takes a token of logit -inf while there are others", async () => {
    const logits = new Float32Array(60).fill(Number.NEGATIVE_INFINITY)
    logits.set([1, 1, 1], 30)
    for (const filters of [{}, { topK: 10 }, { topP: 0.99 }, { minP: 0.01 }]) {
      const { tokens } = await draw(logits, filters, 30)
      expect(new Set(tokens), JSON.stringify(filters)).toEqual(new Set([30, 31, 32]))
    }
  })

  describe("of several sequences", () => {
    interface Row {
      readonly logits: Float32Array<ArrayBuffer>
      readonly sampling: Partial<Sampling>
      readonly prompt: readonly number[]
      readonly allowed?: readonly number[]
    }

    /** What is in each of the state's rows after some steps; rows without a prompt have no sequence. */
    async function together(list: readonly Row[], steps: number, n = list.length): Promise<Uint32Array[][]> {
      const V = list[0]!.logits.length
      const data = new Float32Array(n * V)
      const words = new Uint32Array(list.length * Math.ceil(V / 32)).fill(0xffffffff)
      const state = sampleState(device(), { V, context: steps, sequences: list.length })
      for (const [b, { logits, sampling, prompt, allowed }] of list.entries()) {
        if (b < n) data.set(logits, b * V)
        if (allowed) words.set(maskOf(allowed, V), b * Math.ceil(V / 32))
        if (prompt.length > 0) resetSampleState(device(), state, b, prompt, { ...PLAIN, ...sampling })
      }
      const x = tensor(device(), [n, V], data)
      const mask = list.some(({ allowed }) => allowed) ? tensor(device(), state.seen.shape, words) : undefined
      const run = new Run(device())
      const pool = new ScratchPool(device())
      sample(run, x, state, mask)
      const plan = run.plan(pool)
      for (let i = 0; i < steps; i++) plan.submit()
      const all = await Promise.all(
        [state.settings, state.seen, state.ids, state.cursor, state.output].map(async (each) => {
          const values = new Uint32Array(await device().read(each))
          const columns = values.length / list.length
          return list.map((_, b) => values.slice(b * columns, (b + 1) * columns))
        }),
      )
      plan.dispose()
      pool.dispose()
      free(device(), x, ...(mask ? [mask] : []), ...Object.values(state))
      return list.map((_, b) => all.map((rows) => rows[b]!))
    }

    const logits = (V: number, b: number) => uniform(V, 40 + b, 2)
    const settings: readonly Partial<Sampling>[] = [
      { temperature: 0 },
      { temperature: 1.3, seed: 5 },
      { topK: 9, seed: 5 },
      { topP: 0.7, repetitionPenalty: 1.4, seed: 2 ** 40 },
      { minP: 0.2, topK: 30, topP: 0.9, temperature: 0.8 },
    ]
    const rowsOf = (V: number, B: number): Row[] =>
      Array.from({ length: B }, (_, b) => {
        return { logits: logits(V, b), sampling: settings[b]!, prompt: [b, V - 1, ...new Array<number>(7 * b).fill(2)] }
      })

    test.each([
      [1, 33],
      [2, 300],
      [3, 31],
      [5, 1000],
    ])("%i of them draw what each draws alone, of %i tokens", async (B, V) => {
      const list = rowsOf(V, B)
      const all = await together(list, 6)
      for (const [b, row] of list.entries()) expect(all[b], `sequence ${b}`).toEqual((await together([row], 6))[0])
    })

    test("leave a row without a sequence as it was, and draw past it", async () => {
      const list = rowsOf(200, 5).map((row, b) => (b === 0 || b === 3 ? { ...row, prompt: [] } : row))
      const all = await together(list, 4)
      for (const [b, row] of list.entries()) expect(all[b], `row ${b}`).toEqual((await together([row], 4))[0])
      for (const b of [0, 3]) {
        const [, seen, ids, cursor, output] = all[b]!
        expect([...seen!, ...ids!, ...output!].every((word) => word === 0)).toBe(true)
        expect([...cursor!]).toEqual([NO_POSITION, 0])
      }
    })

    test("of which only the first n have logits draw, the others stay", async () => {
      const list = rowsOf(100, 4)
      const all = await together(list, 3, 2)
      for (const b of [0, 1]) expect(all[b]).toEqual((await together([list[b]!], 3))[0])
      for (const b of [2, 3]) expect([...all[b]![3]!]).toEqual([list[b]!.prompt.length - 1, 0])
    })

    test("are held each to its own mask", async () => {
      const list = rowsOf(150, 4).map((row, b) => (b === 2 ? row : { ...row, allowed: [b, 70 + b, 149 - b] }))
      const all = await together(list, 5)
      for (const [b, row] of list.entries()) expect(all[b], `sequence ${b}`).toEqual((await together([row], 5))[0])
    })

    test("do not write past the end of their row of output", async () => {
      const state = sampleState(device(), { V: 8, context: 2, sequences: 2 })
      for (const b of [0, 1]) resetSampleState(device(), state, b, [1], { ...PLAIN, temperature: 0 })
      const x = tensor(device(), [2, 8], Float32Array.of(0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0))
      const run = new Run(device())
      const pool = new ScratchPool(device())
      sample(run, x, state)
      const plan = run.plan(pool)
      for (let i = 0; i < 5; i++) plan.submit()
      expect([...new Uint32Array(await device().read(state.output))]).toEqual([1, 1, 3, 3])
      expect([...new Uint32Array(await device().read(state.cursor))]).toEqual([5, 5, 5, 5])
      plan.dispose()
      pool.dispose()
      free(device(), x, ...Object.values(state))
    })
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
