import { describe, expect, test } from "vitest"
import { bitNorm } from "../../src/kernels/bit_norm.ts"
import { dequantize } from "../../src/kernels/dequantize.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { gradients } from "../helpers/gradients.ts"
import { compute, random, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { int8Tensor } from "../helpers/ternary.ts"
import { rmsNormBackward } from "../reference/rms_norm.ts"

describe("dequantize", () => {
  const device = testDevice()

  test.each([
    [1, 4],
    [7, 96],
    [65, 2816],
  ])("multiplies codes by the scale of their row, [%i, %i]", async (T, C) => {
    const next = random(1)
    const codes = Int8Array.from({ length: T * C }, (_, i) => (i < 2 ? 255 * i - 128 : Math.floor(next() * 256) - 128))
    const scales = Array.from({ length: T }, () => Math.fround(next() + 0.1))
    const x = int8Tensor(device(), [T, C], codes, scales)
    const y = await compute(device(), (run) => dequantize(run, x))
    expect(y).toEqual(Float32Array.from(codes, (code, i) => code * scales[Math.floor(i / C)]!))
  })

  test("passes its gradient on as it is", async () => {
    const [T, C] = [7, 96]
    const [x, weight, dy] = [uniform(T * C, 1), uniform(C, 2), uniform(T * C, 3)]
    const [input, w, d] = [tensor(device(), [T, C], x), tensor(device(), [C], weight), tensor(device(), [T, C], dy)]
    const build = (run: Run) => dequantize(run, bitNorm(run, input, w, { eps: 1e-6 }))
    const [dx, dweight] = await gradients(device(), build, d, [input, w])
    const expected = rmsNormBackward(x, weight, dy, { eps: 1e-6, offset: 0 })
    expectClose(dx!, expected.dx, { relative: 2e-6 }, { what: "dequantize, dx" })
    expectClose(dweight!, expected.dweight, { relative: 2e-6 }, { what: "dequantize, dweight" })
  })

  test("refuses another type", () => {
    const run = new Run(device())
    expect(() => dequantize(run, run.empty([2, 8]))).toThrow(new TypeError("dequantize: x is f32, expected int8"))
  })
})
