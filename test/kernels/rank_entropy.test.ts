import { describe, expect, test } from "vitest"
import { crossEntropyBlock } from "../../src/kernels/cross_entropy.ts"
import { rankEntropy } from "../../src/kernels/rank_entropy.ts"
import { Run } from "../../src/kernels/run.ts"
import { topK } from "../../src/kernels/top_k.ts"
import { expectClose } from "../helpers/compare.ts"
import { readAll } from "../helpers/gradients.ts"
import { free, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { entropy, largest, rankOf } from "../reference/likeliest.ts"

describe("rankEntropy and topK", () => {
  const device = testDevice()

  async function told(logits: Float32Array<ArrayBuffer>, targets: readonly number[], k = 1) {
    const T = targets.length
    const x = tensor(device(), [T, logits.length / T], logits)
    const ids = tensor(device(), [T], Uint32Array.from(targets))
    const run = new Run(device())
    const scores = crossEntropyBlock(run, x, ids, { first: 0, cap: 0 })
    const { ranks, entropy } = rankEntropy(run, x, ids, scores)
    const best = topK(run, x, k)
    const [r, e, v, i] = await readAll(device(), run, [ranks, entropy, best.values, best.ids])
    free(device(), x, ids)
    return { ranks: [...new Uint32Array(r!.buffer)], entropy: e!, values: v!, ids: [...new Uint32Array(i!.buffer)] }
  }

  const rowsOf = (logits: Float32Array, T: number) =>
    Array.from({ length: T }, (_, t) => logits.subarray((t * logits.length) / T, ((t + 1) * logits.length) / T))

  test.each([
    [1, 1],
    [1, 2],
    [5, 63],
    [3, 65],
    [2, 4097],
    [1, 262_144],
  ])("are the definition's for T = %i, V = %i, however far from zero the logits are", async (T, V) => {
    for (const [size, offset] of [
      [0.1, 0],
      [8, 3],
      [300, 1e4],
    ] as const) {
      const logits = uniform(T * V, V + T, size).map((x) => x + offset)
      const targets = Array.from({ length: T }, (_, t) => Math.floor((V * (t + 1)) / (T + 1)))
      const k = Math.min(10, V)
      const { ranks, ids, values, ...mine } = await told(logits, targets, k)
      const rows = rowsOf(logits, T)
      const what = `V ${V} size ${size}`
      expect(ranks, what).toEqual(rows.map((row, t) => rankOf(row, targets[t]!)))
      expect(ids, what).toEqual(rows.flatMap((row) => largest(row, k)))
      expect([...values], what).toEqual(rows.flatMap((row) => largest(row, k).map((id) => row[id]!)))
      expectClose(mine.entropy, rows.map(entropy), { absolute: 1e-5 }, { what: `entropy, ${what}` })
    }
  })

  test("puts the lower id first among equals", async () => {
    const logits = new Float32Array(300).fill(-2)
    for (const id of [7, 130, 299]) logits[id] = 3
    const all = Float32Array.from([7, 130, 299, 0, 8].flatMap(() => [...logits]))
    const { ranks, ids } = await told(all, [7, 130, 299, 0, 8], 4)
    expect(ranks).toEqual([1, 2, 3, 4, 11])
    expect(ids.slice(0, 4)).toEqual([7, 130, 299, 0])
  })

  test("gives an entropy of 0 where one token has all, and of log V where all have the same", async () => {
    const one = new Float32Array(1000).fill(-1e30)
    one[5] = 2
    const { entropy } = await told(Float32Array.from([...one, ...new Float32Array(1000)]), [5, 9])
    expectClose(entropy, [0, Math.log(1000)], { absolute: 2e-6 }, { what: "entropy" })
  })

  test("refuse shapes, types and counts that do not fit", () => {
    const run = new Run(device())
    const targets = run.empty([2], "u32")
    const scores = { softmax: run.empty([2, 3]), loss: run.empty([2]) }
    const ask = (logits: number[], ids = targets) => rankEntropy(run, run.empty(logits), ids, scores)
    expect(() => ask([8])).toThrow(new RangeError("rankEntropy: logits is [8], expected [T, V]"))
    expect(() => ask([3, 8])).toThrow(new RangeError("rankEntropy: targets is [2], expected [3]"))
    expect(() => ask([2, 8], run.empty([2]))).toThrow(new TypeError("rankEntropy: targets is f32, expected u32"))
    expect(() => topK(run, run.empty([8]), 1)).toThrow(new RangeError("topK: logits is [8], expected [T, V]"))
    for (const k of [0, 9, 1.5]) {
      expect(() => topK(run, run.empty([2, 8]), k)).toThrow(new RangeError(`topK: k is ${k}, expected 1 to 8`))
    }
  })
})
