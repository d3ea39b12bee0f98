import { describe, expect, test } from "vitest"
import {
  LIKELIEST_ROWS,
  likeliest,
  likeliestState,
  readLikeliest,
  type TokenLogProbability,
} from "../../src/kernels/likeliest.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { resetSampleState, type Sampling, sample, sampleState } from "../../src/kernels/sample.ts"
import { expectClose } from "../helpers/compare.ts"
import { free, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { largest, logSoftmax } from "../reference/likeliest.ts"

const WARM: Sampling = { repetitionPenalty: 1.5, temperature: 3, topK: 50, topP: 0.99, minP: 0, seed: 1 }

describe("likeliest", () => {
  const device = testDevice()

  /** What `steps` draws from the same logits tell, the last LIKELIEST_ROWS of them. */
  async function told(logits: Float32Array<ArrayBuffer>, n: number, steps = 1): Promise<TokenLogProbability[]> {
    const x = tensor(device(), [1, logits.length], logits)
    const state = sampleState(device(), { V: logits.length, context: steps })
    const own = likeliestState(device())
    resetSampleState(device(), state, 0, [0], WARM)
    device().write(own.count, Uint32Array.of(n))
    const run = new Run(device())
    const pool = new ScratchPool(device())
    sample(run, x, state)
    likeliest(run, x, state, own)
    const plan = run.plan(pool)
    for (let i = 0; i < steps; i++) plan.submit()
    const tokens = new Uint32Array(await device().read(state.output))
    const rows = new DataView(await device().read(own.output))
    plan.dispose()
    pool.dispose()
    free(device(), x, ...Object.values(state), ...Object.values(own))
    const first = Math.max(0, steps - LIKELIEST_ROWS)
    return [...tokens.slice(first)].map((token, i) => readLikeliest(rows, first + i, token, n))
  }

  function expectTold(row: TokenLogProbability, logits: Float32Array, n: number): void {
    const expected = logSoftmax(logits)
    const ids = largest(logits, n)
    expect(row.top.map(({ token }) => token)).toEqual(ids)
    const what = `log-probabilities of ${logits.length}`
    const actual = [row.logprob, ...row.top.map(({ logprob }) => logprob)]
    expectClose(actual, [expected[row.token]!, ...ids.map((id) => expected[id]!)], { absolute: 4e-6 }, { what })
  }

  test.each([1, 2, 20, 21, 255, 257, 4095, 4096, 4097, 12_289, 262_144])(
    "is the definition's for %i tokens, whatever sampling does",
    async (V) => {
      const logits = uniform(V, V, 8)
      const n = Math.min(20, V)
      for (const row of await told(logits, n, 2)) expectTold(row, logits, n)
    },
  )

  test("gives as many as are asked for, none among them, and no more than there are", async () => {
    const logits = uniform(7, 3, 5)
    for (const n of [0, 1, 5, 7]) expectTold((await told(logits, n))[0]!, logits, n)
    expect((await told(logits, 20))[0]!.top.map(({ token }) => token)).toEqual(largest(logits, 7))
  })

  test("puts the lower id first among equals, in one stretch and across them", async () => {
    const logits = new Float32Array(10_000).fill(-2)
    for (const id of [9999, 4097, 4096, 4095, 300, 44]) logits[id] = 3
    const [row] = await told(logits, 10)
    expectTold(row!, logits, 10)
    expect(row!.top.slice(0, 8).map(({ token }) => token)).toEqual([44, 300, 4095, 4096, 4097, 9999, 0, 1])
  })

  test("keeps the last steps, each in its row", async () => {
    const logits = uniform(300, 9, 2)
    const rows = await told(logits, 3, 2 * LIKELIEST_ROWS + 5)
    expect(rows.length).toBe(LIKELIEST_ROWS)
    expect(new Set(rows.map(({ token }) => token)).size).toBeGreaterThan(3)
    for (const row of rows) expectTold(row, logits, 3)
  })

  test("bears large, equal, masked and infinite logits", async () => {
    const large = uniform(500, 5, 1).map((x) => x * 1e4 + 3e4)
    const [row] = await told(large, 4)
    expect(row!.top.map(({ token }) => token)).toEqual(largest(large, 4))
    const few = new Float32Array(600).fill(Number.NEGATIVE_INFINITY)
    few.set([1, 0, 1], 99)
    const [first] = await told(few, 3)
    expectTold(first!, few, 3)
    const [none] = await told(new Float32Array(50).fill(Number.NaN), 5)
    expect(none!.top).toEqual([])
  })

  test("tells of each sequence, as many as it asks for, and nothing of a row without one", async () => {
    const [V, B] = [5000, 4]
    const all = Array.from({ length: B }, (_, b) => uniform(V, 20 + b, 6))
    const counts = [3, 0, 20, 7]
    const x = tensor(device(), [B, V], Float32Array.from(all.flatMap((row) => [...row])))
    const state = sampleState(device(), { V, context: 4, sequences: B })
    const own = likeliestState(device(), B)
    for (const b of [0, 1, 3]) resetSampleState(device(), state, b, [b, 1], { ...WARM, seed: b })
    device().write(own.count, Uint32Array.from(counts))
    const run = new Run(device())
    const pool = new ScratchPool(device())
    sample(run, x, state)
    likeliest(run, x, state, own)
    const plan = run.plan(pool)
    for (let i = 0; i < 4; i++) plan.submit()
    const tokens = new Uint32Array(await device().read(state.output))
    const bytes = await device().read(own.output)
    for (let b = 0; b < B; b++) {
      const rows = new DataView(bytes, (b * bytes.byteLength) / B, bytes.byteLength / B)
      for (let step = 0; step < 4; step++) {
        if (b === 2) expect(rows.getUint32(step * (rows.byteLength / LIKELIEST_ROWS))).toBe(0)
        else expectTold(readLikeliest(rows, step, tokens[b * 4 + step]!, counts[b]!), all[b]!, counts[b]!)
      }
    }
    plan.dispose()
    pool.dispose()
    free(device(), x, ...Object.values(state), ...Object.values(own))
  })

  test("refuses more rows than sequences", () => {
    const run = new Run(device())
    const state = sampleState(device(), { V: 100, context: 4, sequences: 2 })
    expect(() => likeliest(run, run.empty([2, 100]), state, likeliestState(device()))).toThrow(
      new RangeError("likeliest: logits is [2, 100], expected [n, V] with at most 1 rows"),
    )
  })
})
