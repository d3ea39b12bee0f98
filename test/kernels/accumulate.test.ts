import { describe, expect, test } from "vitest"
import { accumulate } from "../../src/kernels/accumulate.ts"
import { add } from "../../src/kernels/add.ts"
import { Run } from "../../src/kernels/run.ts"
import { rowSlice } from "../../src/kernels/tensor.ts"
import { compute, free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/accumulate.ts"

/** Sums of two f32, rounded as the GPU rounds them: compared to the bit. */
const rounded = (sum: ArrayLike<number>, x: ArrayLike<number>) => Float32Array.from(reference.accumulate(sum, x))

function expectSame(actual: Float32Array, expected: Float32Array): void {
  expect(actual.length).toBe(expected.length)
  expect(actual.findIndex((value, i) => value !== expected[i])).toBe(-1)
}

describe("accumulate", () => {
  const device = testDevice()

  test.each([[1], [1, 4], [5, 7], [33, 172], [3, 2, 11], [640, 2048]].map((shape) => [shape]))(
    "adds x onto sum for %j, in place and again with each use",
    async (shape) => {
      const n = shape.reduce((a, b) => a * b)
      const [before, a, b] = [uniform(n, 1), uniform(n, 2), uniform(n, 3)]
      const [sum, x, y] = [tensor(device(), shape, before), tensor(device(), shape, a), tensor(device(), shape, b)]
      const data = await compute(device(), (run) => {
        accumulate(run, sum, x)
        accumulate(run, sum, y)
        return sum
      })
      expectSame(data, rounded(rounded(before, a), b))
      expectSame(new Float32Array(await device().read(x)), a)
      free(device(), sum, x, y)
    },
  )

  test("adds onto results of the same run, which later ops read with the sum", async () => {
    const [a, b] = [uniform(60, 1), uniform(60, 2)]
    const [x, y] = [tensor(device(), [5, 12], a), tensor(device(), [5, 12], b)]
    const data = await compute(device(), (run) => {
      const sum = add(run, x, y)
      accumulate(run, sum, x)
      return add(run, sum, y)
    })
    expectSame(data, rounded(rounded(rounded(a, b), a), b))
  })

  test("takes x in another shape, and leaves alone what lies beside sum", async () => {
    const [before, a] = [uniform(3 * 64, 1), uniform(64, 2)]
    const all = tensor(device(), [3, 64], before)
    const x = tensor(device(), [4, 16], a)
    const data = await compute(device(), (run) => {
      accumulate(run, rowSlice(all, 1, 2), x)
      return all
    })
    const expected = before.slice()
    expected.set(rounded(before.subarray(64, 128), a), 64)
    expectSame(data, expected)
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [n, period] = [4_300_003, 1021]
    const [a, b] = [uniform(period, 1), uniform(period, 2)]
    const [sum, x] = [tensor(device(), [n], repeat(a, n)), tensor(device(), [n], repeat(b, n))]
    const data = await compute(device(), (run) => {
      accumulate(run, sum, x)
      return sum
    })
    expectSame(data, repeat(rounded(a, b), n))
    free(device(), sum, x)
  })

  test("refuses another number of elements", () => {
    const run = new Run(device())
    expect(() => accumulate(run, run.empty([2, 5]), run.empty([3, 4]))).toThrow(
      new RangeError("accumulate: x is [12], expected [10]"),
    )
  })
})
