import { describe, expect, test } from "vitest"
import { type ActiveColumns, allColumns } from "../../src/kernels/active_columns.ts"
import { globalNorm } from "../../src/kernels/global_norm.ts"
import { Run } from "../../src/kernels/run.ts"
import { sum_squares } from "../../src/kernels/shaders.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { pick } from "../helpers/updates.ts"
import * as reference from "../reference/global_norm.ts"

describe("globalNorm", () => {
  const device = testDevice()

  const all = (gradient: Tensor) => ({ gradient, ...allColumns(gradient) })

  async function norm(gradients: readonly Float32Array<ArrayBuffer>[], maxNorm?: number): Promise<Float32Array> {
    const tensors = gradients.map((gradient) => tensor(device(), [gradient.length], gradient))
    const clip = await compute(device(), (run) => globalNorm(run, tensors.map(all), { maxNorm }))
    free(device(), ...tensors)
    return clip
  }

  function expectNorm(clip: Float32Array, expected: { norm: number; factor: number }, what: string): void {
    expectClose(clip.subarray(0, 1), [expected.norm], { relative: 1e-6 }, { what: `${what}, norm` })
    expectClose(clip.subarray(1), [expected.factor], { relative: 1e-6 }, { what: `${what}, factor` })
  }

  test.each([
    [[1]],
    [[35]],
    [[255, 256, 257]],
    [[16_384, 16_385]], // one workgroup, and two
    [[7, 1_000_003, 1, 640, 70_000]],
  ])("is that of all of %j elements together", async (sizes) => {
    const gradients = sizes.map((n, i) => uniform(n, i + 1, i + 1))
    expectNorm(await norm(gradients), reference.globalNorm(gradients), `norm ${sizes}`)
  })

  test.each([
    ["random", uniform(10_007, 7, 3)],
    ["equal", new Float32Array(1).fill(0.1)], // every sum rounds in the same direction
  ])("is within 1e-6 for ten million %s elements", async (name, block) => {
    const gradient = repeat(block, 10_000_019)
    expectNorm(await norm([gradient]), reference.globalNorm([gradient]), `norm 10M ${name}`)
  })

  test.each([0.5, 3.3, 100])("gives the factor for a norm of at most %f", async (maxNorm) => {
    const gradients = [uniform(35, 1), uniform(1000, 2, 0.1)] // a norm of 3.9
    const expected = reference.globalNorm(gradients, maxNorm)
    expect(expected.factor === 1).toBe(maxNorm === 100)
    expectNorm(await norm(gradients, maxNorm), expected, `norm at most ${maxNorm}`)
  })

  test("keeps its precision where each lane adds up thousands of equal elements", async () => {
    const n = 2_000_003
    const gradient = new Float32Array(n).fill(0.1)
    const x = tensor(device(), [n], gradient)
    const partials = await compute(device(), (run) => {
      const partials = run.empty([3])
      const params = { n, columns: n, first_column: 0, active_columns: n, slot: 1 }
      run.dispatch(sum_squares, { x, partials }, params, [2])
      return partials
    })
    const { norm } = reference.globalNorm([gradient])
    expectClose([partials[1]! + partials[2]!], [norm ** 2], { relative: 2e-6 }, { what: "squares of 2M equal" })
    free(device(), x)
  })

  test("divides by a little more than the norm, as PyTorch does", async () => {
    const gradients = [Float32Array.of(3e-6, -4e-6)]
    const expected = reference.globalNorm(gradients, 2e-6)
    expectClose([expected.factor], [1 / 3], { absolute: 1e-6 }, { what: "factor of the definition" })
    expectNorm(await norm(gradients, 2e-6), expected, "norm tiny")
  })

  test("is 0 with factor 1 for gradients of zeros", async () => {
    expect([...(await norm([new Float32Array(5), new Float32Array(1)], 1))]).toEqual([0, 1])
  })

  test.each([
    [[5, 12], { columns: 12, first: 3, active: 6 }],
    [[3, 4, 5], { columns: 20, first: 19, active: 1 }],
    [[1000, 96], { columns: 96, first: 0, active: 61 }],
  ])("leaves out the columns of %j that are not active in %j", async (shape, columns: ActiveColumns) => {
    const size = shape.reduce((a, b) => a * b)
    const data = uniform(size, 3)
    const { columns: C, first, active } = columns
    const spoilt = data.map((value, i) => (i % C >= first && i % C < first + active ? value : Number.NaN))
    const gradient = tensor(device(), shape, spoilt)
    const clip = await compute(device(), (run) => globalNorm(run, [{ gradient, ...columns }]))
    expectNorm(clip, reference.globalNorm([pick(data, columns)]), `norm ${shape}`)
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e25, -3.4e38])(
    "is infinite with factor -1 where one element is %f, wherever it lies",
    async (value) => {
      for (const [which, i] of [
        [0, 0],
        [0, 299],
        [1, 0],
        [1, 39_999],
        [1, 40_000],
      ] as const) {
        const gradients = [uniform(300, 1), uniform(40_001, 2)]
        gradients[which]![i] = value
        expect([...(await norm(gradients, 1))], `${which} ${i}`).toEqual([Number.POSITIVE_INFINITY, -1])
      }
    },
  )

  test("is infinite where only the sum of the squares is too large", async () => {
    const large = new Float32Array(100).fill(1.8e19) // each square is finite
    expect([...(await norm([large]))]).toEqual([Number.POSITIVE_INFINITY, -1])
    expect([...(await norm([large.subarray(0, 1).slice(), large.subarray(0, 1).slice()]))]).toEqual([
      Number.POSITIVE_INFINITY,
      -1,
    ])
  })

  test("is the same to the bit each time", async () => {
    const gradients = [uniform(200_003, 1), uniform(5, 2)]
    expect(await norm(gradients, 1)).toEqual(await norm(gradients, 1))
  })

  test("refuses no gradients, another type, columns that are not there and a bad maxNorm", () => {
    const run = new Run(device())
    const gradient = run.empty([2, 6])
    const one = { gradient, ...allColumns(gradient) }
    expect(() => globalNorm(run, [])).toThrow(new RangeError("globalNorm: gradients are 0, expected at least 1"))
    expect(() => globalNorm(run, [{ ...one, gradient: run.empty([2, 6], "u32") }])).toThrow(
      new TypeError("globalNorm: gradient is u32, expected f32"),
    )
    expect(() => globalNorm(run, [{ ...one, columns: 5 }])).toThrow(
      new RangeError("globalNorm: gradient is [2, 6], expected whole rows of 5"),
    )
    for (const [first, active] of [
      [1, 6],
      [-1, 2],
      [6, 0],
      [0, 1.5],
    ] as const) {
      expect(() => globalNorm(run, [{ ...one, first, active }])).toThrow(
        new RangeError(
          `globalNorm: active columns of gradient are ${first} to ${first + active}, expected a part of 0 to 6`,
        ),
      )
    }
    for (const maxNorm of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e39]) {
      expect(() => globalNorm(run, [one], { maxNorm })).toThrow(
        new RangeError(`globalNorm: maxNorm is ${maxNorm}, expected a number above 0`),
      )
    }
  })
})
