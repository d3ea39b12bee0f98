import { describe, expect, test } from "vitest"
import { feedback, roundToFour } from "../../src/train/gptq.ts"
import { expectClose } from "../helpers/compare.ts"
import { random, uniform } from "../helpers/kernels.ts"
import { secondMoment } from "../reference/factorize.ts"
import { gptq } from "../reference/gptq.ts"
import { outputError } from "../reference/quantized.ts"

/** The moment of inputs whose columns depend on each other, some more than others. */
function momentOf(C: number, T: number, seed: number): Float64Array {
  const next = random(seed)
  const inputs = new Float64Array(T * C)
  for (let t = 0; t < T; t++) {
    let common = 0
    for (let c = 0; c < C; c++) {
      common = 0.8 * common + (next() - 0.5)
      inputs[t * C + c] = common * (1 + (c % 5))
    }
  }
  return secondMoment(inputs, [T, C])
}

describe("roundToFour", () => {
  test.each([
    [1, 32],
    [7, 64],
    [67, 96],
  ])("gives the codes of GPTQ as it is published, with the inverse of the moment, [%i, %i]", (N, C) => {
    const [weight, moment] = [uniform(N * C, 1), momentOf(C, 2 * C, 2)]
    const { codes, scales, zeros } = roundToFour(weight, feedback(moment, C))
    const expected = gptq(weight, moment, C, { scales, zeros: Array.from(zeros, (zero) => zero / 16) })
    expect(codes).toEqual(expected)
    expect(zeros.some((zero) => zero % 16 !== 0)).toBe(true)
    expect(new Uint32Array(scales.slice().buffer).every((bits) => bits % 256 === 0)).toBe(true)
  })

  test("keeps outputs better than rounding to the nearest does", () => {
    const [N, C] = [24, 96]
    const [weight, moment] = [uniform(N * C, 3), momentOf(C, 300, 4)]
    const lost = (inputs: Float64Array) => {
      const { codes, scales, zeros } = roundToFour(weight, feedback(inputs, C))
      const values = Float64Array.from(codes, (code, i) => scales[i >> 5]! * (code - zeros[i >> 5]! / 16))
      return outputError(weight, values, moment)
    }
    const independent = Float64Array.from({ length: C * C }, (_, i) => (i % (C + 1) === 0 ? moment[i]! : 0))
    expect(lost(moment)).toBeLessThan(0.55 * lost(independent))
  })

  test("takes columns that no input had, and inputs that were all 0", () => {
    const C = 64
    const moment = momentOf(C, 100, 5)
    for (let i = 0; i < C; i++) moment[5 * C + i] = moment[i * C + 5] = 0
    const weight = uniform(3 * C, 6)
    for (const each of [moment, new Float64Array(C * C), momentOf(C, 3, 7)]) {
      const { codes, scales, zeros } = roundToFour(weight, feedback(each, C))
      const values = Float64Array.from(codes, (code, i) => scales[i >> 5]! * (code - zeros[i >> 5]! / 16))
      expect(values.every(Number.isFinite)).toBe(true)
      expectClose(values, weight, { absolute: 0.5 }, { what: "values" })
    }
    const zero = roundToFour(new Float32Array(C), feedback(moment, C))
    expect([...zero.scales, ...zero.zeros]).toEqual([0, 0, 0, 0])
  })

  test("refuses what is no moment", () => {
    const indefinite = Float64Array.from({ length: 32 * 32 }, (_, i) => (i % 33 === 0 ? (i === 0 ? 100 : -1) : 0))
    expect(() => feedback(indefinite, 32)).toThrow(
      new RangeError("gptq: moment of trace 69 is indefinite, expected X^T X / n of some inputs X"),
    )
    expect(() => feedback(new Float64Array(9), 32)).toThrow("gptq: moment: length is 9")
    expect(() => feedback(new Float64Array(32 * 32).fill(Number.NaN), 32)).toThrow(RangeError)
  })
})
