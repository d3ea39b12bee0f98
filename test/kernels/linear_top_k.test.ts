import { describe, expect, test } from "vitest"
import type { Head } from "../../src/kernels/linear_distill.ts"
import { gatherProbs, linearTopK } from "../../src/kernels/linear_top_k.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { openTestDevice } from "../helpers/device.ts"
import { headData, logitsData, logitsOf, upload } from "../helpers/distill.ts"
import { readAll } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  random,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  weights,
} from "../helpers/kernels.ts"
import { row, softmax, topK } from "../reference/distill.ts"

describe("linearTopK", () => {
  const device = testDevice()

  async function likeliest({ x, weight, softcap }: Head, k: number, temperature = 1, on = device()) {
    const run = new Run(on)
    const { ids, probs } = linearTopK(run, x, weight, { softcap, temperature, k })
    const [i, p] = await readAll(on, run, [ids, probs])
    return { ids: new Uint32Array(i!.buffer), probs: p! }
  }

  /** Holds ids and probabilities to the definition. Ids may differ only where logits are too near for f32. */
  function expectTopK(
    { ids, probs }: { ids: Uint32Array; probs: Float32Array },
    logits: Float64Array,
    [V, k, temperature]: readonly [number, number, number],
    what: string,
  ): void {
    for (let t = 0; t < logits.length / V; t++) {
      const of = row(logits, t, V)
      const p = softmax(of, temperature)
      const [mine, best] = [[...ids.subarray(t * k, t * k + k)], topK(of, k)]
      expect(new Set(mine).size, `${what}, distinct`).toBe(k)
      const pick = (from: ArrayLike<number>, all: readonly number[]) => all.map((v) => from[v]!)
      expectClose(pick(of, mine), pick(of, best), { absolute: 2e-5 }, { what: `${what}, logits` })
      expectClose(probs.subarray(t * k, t * k + k), pick(p, mine), { absolute: 1e-7, relative: 1e-5 }, { what })
    }
  }

  test.each([
    [1, 4, 1, 1],
    [1, 64, 1000, 16],
    [5, 12, 33, 33],
    [3, 4, 300, 256],
    [2, 8, 9001, 256],
    [2, 8, 9001, 1],
  ])(
    "is the definition's for T = %i, C = %i, V = %i, k = %i, capped or not, weights in every type",
    async (T, C, V, k) => {
      for (const dtype of WEIGHT_DTYPES) {
        for (const [softcap, temperature] of [
          [null, 1],
          [30, 2],
        ] as const) {
          const data = headData([T, C, V], 1, dtype, softcap)
          const head = upload(device(), data, 2500)
          const what = `top ${k} of ${V} ${dtype} cap ${softcap}`
          expectTopK(await likeliest(head, k, temperature), logitsOf(data), [V, k, temperature], what)
          free(device(), head.x, head.weight)
        }
      }
    },
  )

  test("takes the lower id among equals, in a block and across blocks, also of 0 and -0", async () => {
    const V = 9001
    const weight = new Float32Array(V * 4)
    for (let v = 0; v < V; v++) weight[v * 4] = v % 3 === 0 ? 2 : v % 5 === 0 ? 1 : v % 2 ? 0 : -0
    const data = { x: Float32Array.of(1, 0, 0, 0), weight: { dtype: "f32" as const, stored: weight, values: weight } }
    const head = upload(device(), { ...data, softcap: null, C: 4 }, 4000)
    const { ids } = await likeliest(head, 256)
    expect([...ids]).toEqual(Array.from({ length: 256 }, (_, i) => i * 3))
    const few = new Float32Array(V * 4)
    for (const [v, value] of [
      [8999, 3],
      [4500, 2],
      [17, 2],
      [9000, 2],
      [4200, 3],
    ] as const)
      few[v * 4] = value
    const { weight: of } = upload(device(), {
      ...data,
      weight: { dtype: "f32", stored: few, values: few },
      softcap: null,
      C: 4,
    })
    const some = await likeliest({ ...head, weight: of }, 8)
    expect([...some.ids]).toEqual([4200, 8999, 17, 4500, 9000, 0, 1, 2])
  })

  test("keeps more than a block has", async () => {
    const small = await openTestDevice({ limits: "default" })
    const [T, C, V, k] = [33, 4, 300, 200]
    const data = headData([T, C, V], 1, "f32", null)
    Object.assign(small, { maxBinding: 33 * 200 * 4 }) // blocks of 192 rows and of the 108 others
    expectTopK(await likeliest(upload(small, data), k, 1, small), logitsOf(data), [V, k, 1], "top 200 of blocks of 192")
    Object.assign(small, { maxBinding: V * C * 4 }) // what blocks of 32 rows take
    const one = { ...data, x: data.x.subarray(0, C) }
    const head = upload(small, one)
    Object.assign(small, { maxBinding: 1024 }) // for one row: blocks of 256
    expectTopK(await likeliest(head, k, 1, small), logitsOf(one), [V, k, 1], "top 200 of blocks of 256")
    small.dispose()
  })

  test("orders large, negative and infinite logits", async () => {
    const V = 64
    const logits = uniform(V, 3, 1e30)
    logits[5] = Number.NEGATIVE_INFINITY
    const { x } = upload(
      device(),
      logitsData(
        logits.map((l) => (l === Number.NEGATIVE_INFINITY ? -3e38 : l)),
        V,
      ),
    )
    const { weight } = upload(device(), logitsData(new Float32Array(V), V))
    const { ids } = await likeliest({ x, weight, softcap: null }, V)
    expect([...ids]).toEqual(topK(logits, V))
  })

  test("refuses a k that is none, and a table of another width", () => {
    const run = new Run(device())
    const w = matrix(device(), [300, 4], weights(1200, 1, "f32"))
    const build = (k: number, C = 4) => {
      return () => linearTopK(run, run.empty([2, C]), w, { softcap: null, temperature: 1, k })
    }
    for (const k of [0, 257, 1.5]) {
      expect(build(k)).toThrow(new RangeError(`linearTopK: k is ${k}, expected 1 to 256`))
    }
    expect(build(4, 8)).toThrow(new RangeError("linearTopK: weight is [300, 4], expected [300, 8]"))
    const few = matrix(device(), [3, 4], weights(12, 1, "f32"))
    expect(() => linearTopK(run, run.empty([2, 4]), few, { softcap: null, temperature: 1, k: 4 })).toThrow(
      new RangeError("linearTopK: k is 4, expected 1 to 3"),
    )
  })
})

describe("gatherProbs", () => {
  const device = testDevice()

  test.each([
    [1, 4, 1, 1],
    [5, 64, 257, 40],
    [3, 8, 9001, 300],
  ])("is the definition's for T = %i, C = %i, V = %i, K = %i, whatever the ids", async (T, C, V, K) => {
    for (const [softcap, temperature] of [
      [null, 1],
      [30, 2],
    ] as const) {
      const data = headData([T, C, V], 1, "bf16", softcap)
      const { x, weight } = upload(device(), data, 2500)
      const next = random(7)
      const wanted = Uint32Array.from({ length: T * K }, (_, i) => (i === 0 ? V - 1 : Math.floor(next() ** 2 * V)))
      const ids = tensor(device(), [T, K], wanted)
      const probs = await compute(device(), (run) => gatherProbs(run, x, weight, ids, { softcap, temperature }))
      const logits = logitsOf(data)
      const expected = Array.from({ length: T }, (_, t) => softmax(row(logits, t, V), temperature))
      const picked = Float64Array.from(wanted, (v, i) => expected[Math.floor(i / K)]![v]!)
      expectClose(probs, picked, { relative: 1e-5 }, { what: `gatherProbs V ${V} cap ${softcap}` })
    }
  })

  test("refuses ids of other rows or of another type", () => {
    const run = new Run(device())
    const w = matrix(device(), [8, 4], weights(32, 1, "f32"))
    const build = (ids: ReturnType<Run["empty"]>) => {
      return () => gatherProbs(run, run.empty([2, 4]), w, ids, { softcap: null, temperature: 1 })
    }
    expect(build(run.empty([3, 5], "u32"))).toThrow(new RangeError("gatherProbs: ids is [3, 5], expected [2, 5]"))
    expect(build(run.empty([2, 5]))).toThrow(new TypeError("gatherProbs: ids is f32, expected u32"))
  })
})
