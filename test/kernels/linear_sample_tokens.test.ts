import { describe, expect, test } from "vitest"
import type { Head } from "../../src/kernels/linear_distill.ts"
import { linearSampleTokens, sampleTargets } from "../../src/kernels/linear_sample_tokens.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
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
import { row, softmax } from "../reference/distill.ts"

/** The largest f32 below 1. */
const ALMOST_ONE = 1 - 2 ** -24

describe("linearSampleTokens", () => {
  const device = testDevice()

  async function draw({ x, weight, softcap }: Head, uniforms: Float32Array<ArrayBuffer>, temperature = 1) {
    const T = x.shape[0]!
    const u = tensor(device(), [T, uniforms.length / T], uniforms)
    const run = new Run(device())
    const { ids, probs } = linearSampleTokens(run, x, weight, u, { softcap, temperature })
    const [i, p] = await readAll(device(), run, [ids, probs])
    free(device(), u)
    return { ids: new Uint32Array(i!.buffer), probs: p! }
  }

  /** N rising numbers a row, the ends among them. */
  function rising(T: number, N: number): Float32Array<ArrayBuffer> {
    const next = random(9)
    const all = new Float32Array(T * N).map(next)
    for (let t = 0; t < T; t++) {
      const of = all.subarray(t * N, t * N + N)
      if (N > 2) of.set([0, ALMOST_ONE])
      of.sort()
    }
    return all
  }

  /** Holds each draw to the cumulative distribution, from token to token. */
  function expectDraws(
    { ids, probs }: { ids: Uint32Array; probs: Float32Array },
    uniforms: Float32Array,
    logits: Float64Array,
    [T, temperature]: readonly [number, number],
    what: string,
  ): void {
    const [N, V] = [ids.length / T, logits.length / T]
    for (let t = 0; t < T; t++) {
      const p = softmax(row(logits, t, V), temperature)
      const ends = p.slice()
      for (let v = 1; v < V; v++) ends[v]! += ends[v - 1]!
      let before = 0
      for (let n = t * N; n < (t + 1) * N; n++) {
        const [id, u] = [ids[n]!, uniforms[n]!]
        expect(id, what).toBeLessThan(V)
        expect(id, `${what}, rising`).toBeGreaterThanOrEqual(before)
        expect(u, `${what}, below`).toBeGreaterThan(ends[id]! - p[id]! - 2e-6)
        expect(u, `${what}, above`).toBeLessThan(ends[id]! + 2e-6)
        before = id
      }
      const picked = [...ids.subarray(t * N, t * N + N)].map((id) => p[id]!)
      expectClose(probs.subarray(t * N, t * N + N), picked, { relative: 1e-5 }, { what: `${what}, probabilities` })
    }
  }

  test.each([
    [1, 4, 1, 3],
    [1, 64, 1000, 256],
    [5, 12, 33, 7],
    [4, 8, 9001, 256],
    [2, 8, 20_000, 1],
  ])(
    "draws where the definition does for T = %i, C = %i, V = %i, N = %i, capped or not, weights in every type",
    async (T, C, V, N) => {
      for (const dtype of WEIGHT_DTYPES) {
        for (const [softcap, temperature] of [
          [null, 1],
          [30, 2],
          [3, 0.5],
        ] as const) {
          const data = headData([T, C, V], 1, dtype, softcap)
          const head = upload(device(), data, 2500)
          const uniforms = rising(T, N)
          const what = `draws V ${V} ${dtype} cap ${softcap}`
          expectDraws(await draw(head, uniforms, temperature), uniforms, logitsOf(data), [T, temperature], what)
          free(device(), head.x, head.weight)
        }
      }
    },
  )

  test("resolves tokens that weigh little, wherever they are", async () => {
    const [V, N] = [9000, 256]
    const weight = new Float32Array(V * 4)
    weight[0] = 20 // almost all, in the first block; the others share 2e-5
    const data = { weight: { dtype: "f32" as const, stored: weight, values: weight }, softcap: null, C: 4 }
    const head = upload(device(), { ...data, x: Float32Array.of(1, 0, 0, 0) })
    const p = softmax(
      Array.from({ length: V }, (_, v) => (v === 0 ? 20 : 0)),
      1,
    )
    const uniforms = Float32Array.from({ length: N }, (_, n) => 1 - ((N - n) / (N + 1)) * (1 - p[0]!))
    const { ids } = await draw(head, uniforms)
    const expected = Array.from(uniforms, (u) => 1 + (u - p[0]!) / p[1]!)
    // Numbers at 1 have steps of 2^-23, which here are 58 tokens; three more for rounding of the sum.
    expectClose(ids, expected, { absolute: 4 * 58 }, { what: "draws of the unlikely" })
  })

  test.each([0, 5000, 8999])("draws token %i where it alone is likely, up to the very ends", async (only) => {
    const V = 9000
    const weight = new Float32Array(V * 4)
    weight[only * 4] = 1
    const data = { weight: { dtype: "f32" as const, stored: weight, values: weight }, softcap: null, C: 4 }
    const head = upload(device(), { ...data, x: Float32Array.of(1000, 0, 0, 0) })
    const { ids, probs } = await draw(head, Float32Array.of(0, 2 ** -149, 0.5, ALMOST_ONE, 1))
    expect([...ids]).toEqual([only, only, only, only, only])
    expect([...probs]).toEqual([1, 1, 1, 1, 1])
  })

  test("never draws a token without probability, whatever rounding leaves over", async () => {
    const [T, V] = [64, 300]
    const logits = uniform(T * V, 5, 3).map((l, i) => (i % V > 250 || i % 3 === 1 ? -1e4 : l))
    const uniforms = Float32Array.from({ length: T * 4 }, (_, i) => [0, 2 ** -30, ALMOST_ONE, 1][i % 4]!)
    const { ids, probs } = await draw(upload(device(), logitsData(logits, V)), uniforms)
    const drawn = Array.from(ids, (id, i) => logits[Math.floor(i / 4) * V + id]!)
    expect(Math.min(...drawn)).toBeGreaterThan(-4)
    expect(Math.min(...probs)).toBeGreaterThan(0)
  })

  test("gives ids of the vocabulary for logits that are NaN", async () => {
    const V = 40
    const { weight } = upload(device(), logitsData(new Float32Array(V), V))
    const x = tensor(device(), [1, V], new Float32Array(V).fill(Number.NaN))
    const { ids } = await draw({ x, weight, softcap: null }, Float32Array.of(0, 0.5, ALMOST_ONE))
    for (const id of ids) expect(id).toBeLessThan(V)
  })

  test("refuses numbers of other rows or of another type", () => {
    const run = new Run(device())
    const w = matrix(device(), [8, 4], weights(32, 1, "f32"))
    const build = (u: ReturnType<Run["empty"]>) => {
      return () => linearSampleTokens(run, run.empty([2, 4]), w, u, { softcap: null, temperature: 1 })
    }
    expect(build(run.empty([3, 5]))).toThrow(new RangeError("linearSampleTokens: uniforms is [3, 5], expected [2, 5]"))
    expect(build(run.empty([2, 5], "u32"))).toThrow(new TypeError("linearSampleTokens: uniforms is u32, expected f32"))
  })
})

describe("sampleTargets", () => {
  const device = testDevice()

  test.each(["count", "renorm"] as const)("keeps each token once: %s", async (as) => {
    const draws = [
      [3, 3, 3, 8, 9, 9],
      [9, 9, 9, 9, 9, 9],
      [0, 1, 2, 3, 4, 5],
    ]
    const p = Float32Array.from(draws.flat(), (id) => (id + 1) / 64)
    const [ids, probs] = [tensor(device(), [3, 6], Uint32Array.from(draws.flat())), tensor(device(), [3, 6], p)]
    const weights = await compute(device(), (run) => sampleTargets(run, { ids, probs }, as).probs)
    const expected = {
      count: [
        [3, 0, 0, 1, 2, 0],
        [6, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1],
      ]
        .flat()
        .map((n) => n / 6),
      renorm: [
        [4, 0, 0, 9, 10, 0],
        [10, 0, 0, 0, 0, 0],
        [1, 2, 3, 4, 5, 6],
      ]
        .flat()
        .map((n) => n / 64),
    }
    expectClose(weights, expected[as], { absolute: 1e-7 }, { what: as })
  })

  test("refuses ids that are no rows, of another type or of another shape", () => {
    const run = new Run(device())
    const probs = run.empty([2, 3])
    expect(() => sampleTargets(run, { ids: run.empty([6], "u32"), probs }, "count")).toThrow(
      new RangeError("sampleTargets: ids is [6], expected [T, N]"),
    )
    expect(() => sampleTargets(run, { ids: run.empty([2, 3]), probs }, "count")).toThrow(
      new TypeError("sampleTargets: ids is f32, expected u32"),
    )
    expect(() => sampleTargets(run, { ids: run.empty([2, 4], "u32"), probs }, "count")).toThrow(
      new RangeError("sampleTargets: probs is [2, 3], expected [2, 4]"),
    )
  })
})
