import { describe, expect, test } from "vitest"
import { NO_POSITION } from "../../src/kernels/cursors.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { resetSampleState, type Sampling, sample, sampleState } from "../../src/kernels/sample.ts"
import { free, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { maskOf, PLAIN } from "../helpers/sampling.ts"

describe("sample", () => {
  const device = testDevice()

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
})
