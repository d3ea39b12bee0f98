import { describe, expect, test } from "vitest"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { resetSampleState, type SampleState, type Sampling, sample, sampleState } from "../../src/kernels/sample.ts"
import { sampleAlong } from "../../src/kernels/sample_along.ts"
import { free, tensor, testDevice, uniform } from "../helpers/kernels.ts"

const PLAIN: Sampling = { repetitionPenalty: 1, temperature: 1, topK: 0, topP: 1, minP: 0, seed: 1 }

describe("sampleAlong", () => {
  const device = testDevice()

  const words = async (state: SampleState) => {
    const read = async (name: keyof SampleState) => [...new Uint32Array(await device().read(state[name]))]
    return {
      settings: await read("settings"),
      seen: await read("seen"),
      ids: await read("ids"),
      cursor: await read("cursor"),
    }
  }

  interface Case {
    readonly V: number
    readonly sampling: Sampling
    readonly prompt: readonly number[]
    readonly drawn?: number
  }

  /** The tokens drawn one after another, each row of logits in its turn. */
  async function inTurn(
    logits: Float32Array<ArrayBuffer>,
    { V, sampling, prompt, drawn = 0 }: Case,
  ): Promise<number[]> {
    const n = logits.length / V
    const state = sampleState(device(), { V, context: n })
    resetSampleState(device(), state, 0, prompt, sampling, { drawn })
    const row = tensor(device(), [1, V], new Float32Array(V))
    const run = new Run(device())
    const pool = new ScratchPool(device())
    sample(run, row, state)
    const plan = run.plan(pool)
    for (let r = 0; r < n; r++) {
      device().write(row, logits.slice(r * V, (r + 1) * V))
      plan.submit()
    }
    const tokens = [...new Uint32Array(await device().read(state.output))]
    plan.dispose()
    pool.dispose()
    free(device(), row, ...Object.values(state))
    return tokens
  }

  /** The tokens drawn after rows at once, and the sequence's own state before and after. */
  async function atOnce(
    logits: Float32Array<ArrayBuffer>,
    ids: readonly number[],
    { V, sampling, prompt, drawn = 0 }: Case,
  ) {
    const n = ids.length
    const state = sampleState(device(), { V, context: n })
    resetSampleState(device(), state, 0, prompt, sampling, { drawn })
    const rows = sampleState(device(), { V, context: 1, sequences: n })
    const [x, fed] = [tensor(device(), [n, V], logits), tensor(device(), [n], Uint32Array.from(ids))]
    const run = new Run(device())
    const pool = new ScratchPool(device())
    sampleAlong(run, x, fed, state, rows)
    const plan = run.plan(pool)
    const before = await words(state)
    plan.submit()
    plan.submit() // it can be done again: nothing that it reads has changed
    const [after, { ids: tokens, cursor }] = [await words(state), await words(rows)]
    plan.dispose()
    pool.dispose()
    free(device(), x, fed, ...Object.values(state), ...Object.values(rows))
    return { tokens, cursor, before, after }
  }

  test.each<[string, Partial<Sampling>, number, number]>([
    ["greedy", { temperature: 0 }, 100, 5],
    ["warm", { temperature: 1.5, seed: 2 ** 40 + 3 }, 100, 9],
    ["one row", { temperature: 1.5 }, 300, 1],
    ["filtered", { topK: 20, topP: 0.9, minP: 0.01, seed: 8 }, 1000, 4],
    ["penalised", { temperature: 0, repetitionPenalty: 3 }, 40, 9],
    ["penalised and warm, few tokens", { temperature: 2, repetitionPenalty: 1.7, seed: 5 }, 7, 9],
  ])("draws what is drawn in turn, if that is what was fed: %s", async (_, settings, V, n) => {
    const logits = uniform(n * V, n + V, 2)
    const of = { V, sampling: { ...PLAIN, ...settings }, prompt: [3, 1, 5], drawn: 4 }
    const expected = await inTurn(logits, of)
    const drawn = await atOnce(logits, [5, ...expected.slice(0, -1)], of)
    expect(drawn.tokens).toEqual(expected)
    expect(drawn.after).toEqual(drawn.before)
  })

  test("knows the tokens fed before a row, not those behind it", async () => {
    const V = 64
    const flat = Float32Array.from({ length: 4 * V }, (_, i) => (i % V === 40 ? 2 : i % V === 9 ? 1.5 : 1))
    const of = { V, sampling: { ...PLAIN, temperature: 0, repetitionPenalty: 4 }, prompt: [7] }
    const { tokens, cursor } = await atOnce(flat, [7, 0, 40, 9], of)
    expect(tokens).toEqual([40, 40, 9, 1]) // 0, 7, 9 and 40 are known to the last row
    expect(cursor.filter((_, i) => i % 2 === 0)).toEqual([1, 2, 3, 4])
  })

  test("refuses rows of another number or vocabulary, and several sequences", () => {
    const run = new Run(device())
    const state = sampleState(device(), { V: 100, context: 4 })
    const rows = sampleState(device(), { V: 100, context: 1, sequences: 3 })
    const along = (n: number, ids: number, of = state, V = 100) => {
      sampleAlong(run, run.empty([n, V]), run.empty([ids], "u32"), of, rows)
    }
    expect(() => along(3, 3)).not.toThrow()
    expect(() => along(1, 1)).not.toThrow()
    expect(() => along(4, 4)).toThrow(new RangeError("sampleAlong: rows is of [3, 4], expected at least 4 rows of 4"))
    expect(() => along(2, 3)).toThrow(
      new RangeError("sampleAlong: logits is [2, 100], expected 3 rows as there are ids"),
    )
    expect(() => along(2, 2, sampleState(device(), { V: 200, context: 4 }), 200)).toThrow(
      new RangeError("sampleAlong: rows is of [3, 4], expected at least 2 rows of 7"),
    )
    expect(() => along(2, 2, rows)).toThrow(new RangeError("sampleAlong: seen is [3, 4], expected [1, 4]"))
  })
})
