import { describe, expect, test } from "vitest"
import { Run } from "../../src/kernels/run.ts"
import { softcap, softcapBackward } from "../../src/kernels/softcap.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/softcap.ts"

describe("softcap", () => {
  const device = testDevice()

  test.each([
    [[1, 1], 30],
    [[1, 257], 30],
    [[5, 33], 50],
    [[2, 640], 30],
    [[1, 262_144], 30],
    [[17, 262_144], 30], // more than 65535 workgroups
  ])("equals cap * tanh(x / cap) for %j, cap %f", async (shape, cap) => {
    const x = uniform(
      shape.reduce((a, b) => a * b),
      1,
      60,
    )
    const input = tensor(device(), shape, x)
    const y = await compute(device(), (run) => softcap(run, input, cap))
    expectClose(y, reference.softcap(x, cap), { absolute: 1e-6 * cap }, { what: `softcap ${shape}` })
  })

  test("keeps its digits near 0, where tanh by exp loses them", async () => {
    const x = uniform(1024, 3, 12).map((value, i) => value * 10 ** (-i % 7))
    const input = tensor(device(), [1, 1024], x)
    const y = await compute(device(), (run) => softcap(run, input, 50))
    const expected = reference.softcap(x, 50)
    const errors = expected.map((value, i) => y[i]! / value - 1)
    expectClose(errors, new Float64Array(1024), { absolute: 6e-7 }, { what: "softcap, relative to each" })
  })

  test("reaches the cap and never NaN for numbers however large", async () => {
    const x = Float32Array.of(0, 1e-30, 90, -90, 200, 1e4, -1e4, 1e10, -1e30, 3.4e38, -3.4e38, 5000)
    const input = tensor(device(), [1, 12], x)
    const y = await compute(device(), (run) => softcap(run, input, 30))
    expectClose(y, reference.softcap(x, 30), { absolute: 3e-5 }, { what: "softcap large" })
  })
})

describe("softcap, backward", () => {
  const device = testDevice()

  test.each([
    [[1, 1], 30],
    [[1, 257], 30],
    [[5, 33], 50],
    [[2, 640], 30],
  ])("is the slope of its definition for %j, cap %f", async (shape, cap) => {
    const n = shape.reduce((a, b) => a * b)
    const [x, dy] = [uniform(n, 1, 60), uniform(n, 2)]
    const [input, output] = [tensor(device(), shape, x), tensor(device(), shape, dy)]
    const [dx] = await gradients(device(), (run) => softcap(run, input, cap), output, [input])
    const what = `softcap ${shape}, dx`
    expectClose(dx!, reference.softcapBackward(x, dy, cap), { absolute: 1e-6 }, { what })
    expectSlope(dx!, { f: (x) => reference.softcap(x, cap), x, dy }, 1e-6, { what })
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [shape, period] = [[17, 262_144], 1021]
    const part = uniform(period, 3, 60)
    const x = tensor(device(), shape, repeat(part, 17 * 262_144))
    const dx = await compute(device(), (run) => softcapBackward(run, softcap(run, x, 30), x, 30))
    const block = dx.slice(0, period)
    expectClose(block, reference.softcapBackward(part, part, 30), { absolute: 6e-5 }, { what: "softcap block, dx" })
    expect(Buffer.compare(Buffer.from(dx.buffer), Buffer.from(repeat(block, dx.length).buffer))).toBe(0)
    free(device(), x)
  })

  test("reaches 0 and never NaN for numbers however large", async () => {
    const x = Float32Array.of(0, 1e-30, 90, -90, 200, 1e4, -1e4, 1e10, -1e30, 3.4e38, -3.4e38, 5000)
    const [input, output] = [tensor(device(), [1, 12], x), tensor(device(), [1, 12], new Float32Array(12).fill(1))]
    const [dx] = await gradients(device(), (run) => softcap(run, input, 30), output, [input])
    const expected = reference.softcapBackward(x, new Float32Array(12).fill(1), 30)
    expectClose(dx!, expected, { absolute: 1e-6 }, { what: "softcap large, dx" })
  })

  test("refuses dy of another shape", () => {
    const run = new Run(device())
    expect(() => softcapBackward(run, run.empty([2, 3]), run.empty([3, 2]), 30)).toThrow(
      new RangeError("softcapBackward: dy is [3, 2], expected [2, 3]"),
    )
  })
})
