import { describe, expect, test } from "vitest"
import type { Run } from "../../src/kernels/run.ts"
import { scale } from "../../src/kernels/scale.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/scale.ts"

/** Products of two f32 are exact in float64, and rounded once they are those of the GPU, to the bit. */
const rounded = (x: ArrayLike<number>, factor: number) => Float32Array.from(reference.scale(x, Math.fround(factor)))

describe("scale", () => {
  const device = testDevice()

  test.each([[1], [1, 4], [5, 7], [33, 172], [3, 2, 11], [640, 2048]].map((shape) => [shape]))(
    "gives factor * x for %j, to the bit",
    async (shape) => {
      const x = uniform(
        shape.reduce((a, b) => a * b),
        1,
      )
      const input = tensor(device(), shape, x)
      for (const factor of [2, -0.5, 1 / 3, 1e-4, 0]) {
        const y = await compute(device(), (run) => scale(run, input, factor))
        const expected = rounded(x, factor)
        expect(y.findIndex((value, i) => value !== expected[i])).toBe(-1)
      }
      free(device(), input)
    },
  )

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [n, period] = [4_300_003, 1021]
    const block = uniform(period, 2)
    const x = tensor(device(), [n], repeat(block, n))
    const y = await compute(device(), (run) => scale(run, x, 3))
    expect(Buffer.compare(Buffer.from(y.buffer), Buffer.from(repeat(rounded(block, 3), n).buffer))).toBe(0)
    free(device(), x)
  })
})

describe("scale, backward", () => {
  const device = testDevice()

  test.each(
    [
      [1, 4],
      [5, 7],
      [3, 2, 11],
      [640, 2048],
    ].map((shape) => [shape]),
  )("is the slope of its definition for %j, and factor * dy to the bit", async (shape) => {
    const n = shape.reduce((a, b) => a * b)
    const [x, dy] = [uniform(n, 1), uniform(n, 2)]
    const [input, output] = [tensor(device(), shape, x), tensor(device(), shape, dy)]
    const [dx] = await gradients(device(), (run: Run) => scale(run, input, -0.3), output, [input])
    const expected = rounded(dy, -0.3)
    expect(Buffer.compare(Buffer.from(dx!.buffer), Buffer.from(expected.buffer))).toBe(0)
    const f = (x: Float64Array) => reference.scale(x, -0.3)
    expectSlope(dx!, { f, x, dy }, 1e-6, { what: `scale ${shape}, dx` })
    free(device(), input, output)
  })
})
