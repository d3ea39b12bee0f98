import { describe, expect, test } from "vitest"
import { addBias, addBiasBackward } from "../../src/kernels/add_bias.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/add_bias.ts"

describe("addBias", () => {
  const device = testDevice()

  test.each([
    [1, 1],
    [1, 4],
    [5, 7],
    [33, 172],
    [9, 33],
    [1, 2048],
    [65, 1153],
  ])("gives x + bias, and its slope backward, for [%i, %i]", async (T, N) => {
    const [x, bias, dy] = [uniform(T * N, 1), uniform(N, 2), uniform(T * N, 3)]
    const [input, b, output] = [tensor(device(), [T, N], x), tensor(device(), [N], bias), tensor(device(), [T, N], dy)]
    const build = (run: Run) => addBias(run, input, b)
    const y = await compute(device(), build)
    expectClose(y, reference.addBias(x, bias), { relative: 2e-7 }, { what: "addBias" })
    const [dx, dbias] = await gradients(device(), build, output, [input, b])
    expect(dx).toEqual(dy)
    expectClose(dbias!, reference.addBiasBackward(dy, N), { relative: 2e-6 }, { what: "addBias, dbias" })
    const ofBias = { f: (bias: Float64Array) => reference.addBias(x, bias), x: bias, dy }
    expectSlope(dbias!, ofBias, 1e-6, { what: "addBias, dbias" })
    free(device(), input, b, output)
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [T, N] = [2100, 2048]
    const [row, bias] = [uniform(N, 1), uniform(N, 2)]
    const [x, b] = [tensor(device(), [T, N], repeat(row, T * N)), tensor(device(), [N], bias)]
    const y = await compute(device(), (run) => addBias(run, x, b))
    const block = y.slice(0, N)
    expectClose(block, reference.addBias(row, bias), { relative: 2e-7 }, { what: "addBias block" })
    expect(Buffer.compare(Buffer.from(y.buffer), Buffer.from(repeat(block, T * N).buffer))).toBe(0)
    free(device(), x)
  })

  test("refuses other shapes and types", () => {
    const run = new Run(device())
    expect(() => addBias(run, run.empty([14]), run.empty([7]))).toThrow(
      new RangeError("addBias: x is [14], expected [T, N]"),
    )
    expect(() => addBias(run, run.empty([2, 7]), run.empty([8]))).toThrow(
      new RangeError("addBias: bias is [8], expected [7]"),
    )
    expect(() => addBias(run, run.empty([2, 8]), run.empty([8], "bf16"))).toThrow(
      new TypeError("addBias: bias is bf16, expected f32"),
    )
    expect(() => addBiasBackward(run, run.empty([2, 4, 2]))).toThrow(
      new RangeError("addBiasBackward: dy is [2, 4, 2], expected [T, N]"),
    )
  })
})
