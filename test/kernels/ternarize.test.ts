import { describe, expect, test } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import type { Matrix } from "../../src/kernels/tensor.ts"
import { ternarize } from "../../src/kernels/ternarize.ts"
import { unpackRow } from "../../src/kernels/ternary.ts"
import { expectClose } from "../helpers/compare.ts"
import { free, matrix, repeat, testDevice, uniform, WEIGHT_DTYPES, weights } from "../helpers/kernels.ts"
import { ternaryMatrix, trits } from "../helpers/ternary.ts"
import * as reference from "../reference/bit_linear.ts"
import { rowsInFours } from "../reference/ternary.ts"

describe("ternarize", () => {
  const device = testDevice()

  /** What a matrix becomes: all its trits and the scale of every row. */
  async function rounded(device: Device, weight: Matrix, most?: number) {
    const [N, C] = weight.shape
    const into = ternaryMatrix(device, [N, C], trits(N * C, 99), most)
    const run = new Run(device)
    const pool = new ScratchPool(device)
    ternarize(run, weight, into)
    const plan = run.plan(pool)
    plan.submit()
    const bytes = await Promise.all(into.parts.map(({ tensor }) => device.read(tensor)))
    plan.dispose()
    pool.dispose()
    free(device, into)
    const rows = into.parts
      .flatMap((part, i) => rowsInFours(new Uint32Array(bytes[i]!), part.rows, C / 16 + 1))
      .map(unpackRow)
    return { trits: rows.flatMap((row) => [...row.trits]), scales: rows.map((row) => row.scale) }
  }

  test.each([
    [1, 16],
    [3, 64],
    [37, 96],
    [64, 1024],
    [33, 2816],
  ])("rounds to the definition's trits and scale for [%i, %i], weights in every type", async (N, C) => {
    for (const dtype of WEIGHT_DTYPES) {
      const weight = weights(N * C, 1, dtype)
      const w = matrix(device(), [N, C], weight)
      const actual = await rounded(device(), w)
      const expected = reference.ternarize(weight.values)
      const what = `ternarize ${dtype}`
      expectClose(actual.scales, new Float64Array(N).fill(expected.scale), { relative: 2e-7 }, { what })
      const wrong = actual.trits.filter((trit, i) => {
        return trit !== expected.trits[i] && reference.margin(expected.units[i]!) > 1e-6
      })
      expect(wrong, what).toEqual([])
      free(device(), w)
    }
  })

  test.each(WEIGHT_DTYPES)("takes the mean of all parts of a %s matrix, whatever the parts of each", async (dtype) => {
    const [N, C] = [37, 96]
    const weight = weights(N * C, 1, dtype)
    const whole = await rounded(device(), matrix(device(), [N, C], weight))
    for (const [rows, rowsOfInto] of [
      [5, 37],
      [37, 5],
      [8, 13],
      [36, 1],
    ] as const) {
      const actual = await rounded(device(), matrix(device(), [N, C], weight, rows), rowsOfInto)
      expect(actual.trits).toEqual(whole.trits)
      expectClose(actual.scales, whole.scales, { relative: 2e-7 }, { what: `parts of ${rows}` })
      expect(new Set(actual.scales).size).toBe(1)
    }
  })

  test("has an accurate mean of many weights, the same every time", async () => {
    const [N, C] = [2000, 2560]
    const values = repeat(
      uniform(2 ** 16 + 1, 1, 0.02).map((value, i) => (i % 1000 === 0 ? 50 * value : value)),
      N * C,
    )
    const w = matrix(device(), [N, C], { dtype: "f32", stored: values, values })
    const scales = async () => {
      const into = device().matrix("weights", [N, C], "ternary")
      const run = new Run(device())
      const pool = new ScratchPool(device())
      ternarize(run, w, into)
      const plan = run.plan(pool)
      plan.submit()
      const words = new Float32Array(await device().read(into.parts[0]!.tensor))
      plan.dispose()
      pool.dispose()
      free(device(), into)
      return [words.at(-4)!, words.at(-1)!] // of the last four rows
    }
    const first = await scales()
    const { scale } = reference.ternarize(values)
    expectClose(first, [scale, scale], { relative: 1e-7 }, { what: "ternarize mean" })
    expect(await scales()).toEqual(first)
    free(device(), w)
  })

  test("gives zeros of scale 1e-5 for a matrix of zeros", async () => {
    const none = new Float32Array(3 * 64)
    const actual = await rounded(device(), matrix(device(), [3, 64], { dtype: "f32", stored: none, values: none }))
    expect(new Set(actual.trits)).toEqual(new Set([0]))
    expectClose(actual.scales, [1e-5, 1e-5, 1e-5], { relative: 1e-7 }, { what: "ternarize zeros" })
  })

  test("refuses other shapes and types", () => {
    const run = new Run(device())
    const [f32, ternary] = [device().matrix("weights", [3, 64], "f32"), device().matrix("weights", [3, 64], "ternary")]
    expect(() => ternarize(run, f32, device().matrix("weights", [4, 64], "ternary"))).toThrow(
      new RangeError("ternarize: into is [4, 64], expected [3, 64]"),
    )
    expect(() => ternarize(run, f32, f32)).toThrow(new TypeError("ternarize: into is f32, expected ternary"))
    expect(() => ternarize(run, ternary, ternary)).toThrow(
      new TypeError("ternarize: weight is ternary, expected f32, bf16 or f16"),
    )
  })
})
