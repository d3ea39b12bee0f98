import { describe, expect, test } from "vitest"
import { bitNorm, bitNorms } from "../../src/kernels/bit_norm.ts"
import type { Device } from "../../src/kernels/device.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, free, tensor, testDevice, uniform, WEIGHT_DTYPES, type Weights, weights } from "../helpers/kernels.ts"
import * as reference from "../reference/bit_linear.ts"
import { rmsNorm, rmsNormBackward } from "../reference/rms_norm.ts"
import { int8Rows } from "../reference/ternary.ts"

describe("bitNorm", () => {
  const device = testDevice()
  const eps = 1e-6

  async function rowsOf(device: Device, x: Float32Array<ArrayBuffer>, weight: Weights) {
    const C = weight.values.length
    const [input, w] = [tensor(device, [x.length / C, C], x), tensor(device, [C], weight)]
    const memory = await compute(device, (run) => bitNorm(run, input, w, { eps }))
    free(device, input, w)
    return int8Rows(memory.buffer, C)
  }

  /** Holds codes to the definition, to the last where no rounding error of f32 can change one. */
  function expectRows(actual: ReturnType<typeof int8Rows>, x: Float32Array, weight: Weights, what: string): void {
    const C = weight.values.length
    const { codes, units, scales } = reference.bitNorm(x, weight.values, eps)
    expectClose(actual.scales, scales, { relative: 1e-6 }, { what: `${what}, scales` })
    let near = 0
    const wrong = [...codes].filter((code, i) => {
      const sure = reference.margin(units[i]!) > 1e-4
      if (!sure) near++
      return Math.abs(actual.codes[i]! - code) > (sure ? 0 : 1)
    })
    expect(wrong, what).toEqual([])
    expect(near, what).toBeLessThanOrEqual(2 + codes.length / 1000)
    const sums = scales.map((_, t) => actual.codes.subarray(t * C, (t + 1) * C).reduce((sum, code) => sum + code, 0))
    expect(actual.sums, what).toEqual(sums)
  }

  test.each([
    [1, 4],
    [1, 64],
    [2, 96],
    [7, 1024],
    [64, 96],
    [65, 2816],
    [255, 64],
    [256, 64],
    [261, 172],
  ])("rounds what its definition does for [%i, %i], weights in every type", async (T, C) => {
    const x = uniform(T * C, 1, 3)
    for (const dtype of WEIGHT_DTYPES) {
      const weight = weights(C, 2, dtype)
      expectRows(await rowsOf(device(), x, weight), x, weight, `bitNorm ${dtype}`)
    }
  })

  test.each([
    [1, 64],
    [3, 1024],
    [4, 96],
  ])("rounds one row under the weights of %i norms, C = %i, as under each", async (M, C) => {
    const x = uniform(C, 1, 3)
    const weight = weights(M * C, 2, "f32")
    const [input, all] = [tensor(device(), [1, C], x), tensor(device(), [M, C], weight)]
    const together = await compute(device(), (run) => bitNorms(run, input, all, { eps }))
    const stride = together.byteLength / M
    for (let m = 0; m < M; m++) {
      const w = tensor(device(), [C], Float32Array.from(weight.values.subarray(m * C, (m + 1) * C)))
      const alone = await compute(device(), (run) => bitNorm(run, input, w, { eps }))
      expect(together.buffer.slice(m * stride, (m + 1) * stride)).toEqual(alone.buffer)
    }
    expect(() => bitNorms(new Run(device()), tensor(device(), [2, C], uniform(2 * C, 1)), all, { eps })).toThrow(
      new RangeError(`bitNorms: x is [2, ${C}], expected [1, ${C}]`),
    )
  })

  test("uses the whole range, and takes exact halves to either side", async () => {
    const x = Float32Array.of(127, -127, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5)
    const values = new Float32Array(8).fill(1)
    const [input, w] = [tensor(device(), [1, 8], x), tensor(device(), [8], values)]
    const memory = await compute(device(), (run) => bitNorm(run, input, w, { eps: 0 }))
    const { codes, sums } = int8Rows(memory.buffer, 8)
    expect([...codes.subarray(0, 2)]).toEqual([127, -127])
    // The norm makes an exact half a rounding error more or less.
    expectClose(codes, x, { absolute: 0.5 }, { what: "bitNorm halves" })
    expect(sums[0]).toBe(codes.reduce((sum, code) => sum + code, 0))
  })

  test("gives zeros for rows of zeros and for a weight of zeros, and stays finite for tiny and large rows", async () => {
    const C = 96
    const sizes = [0, 1e-12, 1e-3, 1e4, 1e9]
    const x = Float32Array.from(uniform(sizes.length * C, 5), (value, i) => value * sizes[Math.floor(i / C)]!)
    const weight = weights(C, 6, "bf16")
    const rows = await rowsOf(device(), x, weight)
    expectRows(rows, x, weight, "bitNorm sizes")
    expect(rows.codes.subarray(0, C)).toEqual(new Float64Array(C))
    const none = new Float32Array(C)
    const zeros = await rowsOf(device(), x, { dtype: "f32", stored: none, values: none })
    expect(zeros.codes).toEqual(new Float64Array(sizes.length * C))
    expectClose(zeros.scales, new Float64Array(sizes.length).fill(1e-5 / 127), { relative: 1e-6 }, { what: "zeros" })
  })

  test.each([
    [1, 64],
    [7, 96],
    [65, 172],
    [300, 12],
  ])("passes gradients as the norm without rounding does, for [%i, %i]", async (T, C) => {
    const [x, dy] = [uniform(T * C, 1), uniform(T * C, 2)]
    for (const dtype of WEIGHT_DTYPES) {
      const weight = weights(C, 3, dtype)
      const [input, w, d] = [tensor(device(), [T, C], x), tensor(device(), [C], weight), tensor(device(), [T, C], dy)]
      const [dx, dweight] = await gradients(device(), (run) => bitNorm(run, input, w, { eps }), d, [input, w])
      const options = { eps, offset: 0 }
      const expected = rmsNormBackward(x, weight.values, dy, options)
      expectClose(dx!, expected.dx, { relative: 2e-6 }, { what: `bitNorm ${dtype}, dx` })
      expectClose(dweight!, expected.dweight, { relative: 2e-6 }, { what: `bitNorm ${dtype}, dweight` })
      const ofX = { f: (x: Float64Array) => rmsNorm(x, weight.values, options), x, dy }
      expectSlope(dx!, ofX, 1e-6, { what: `bitNorm ${dtype}, dx` })
      const ofWeight = { f: (weight: Float64Array) => rmsNorm(x, weight, options), x: weight.values, dy }
      expectSlope(dweight!, ofWeight, 1e-6, { what: `bitNorm ${dtype}, dweight` })
    }
  })

  test("refuses a weight of another width and x in another type", () => {
    const run = new Run(device())
    expect(() => bitNorm(run, run.empty([2, 8]), run.empty([12]), { eps })).toThrow(
      new RangeError("bitNorm: weight is [12], expected [8]"),
    )
    expect(() => bitNorm(run, run.empty([2, 8], "int8"), run.empty([8]), { eps })).toThrow(
      new TypeError("bitNorm: x is int8, expected f32"),
    )
  })
})
