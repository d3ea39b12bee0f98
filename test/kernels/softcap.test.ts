import { describe, test } from "vitest"
import { softcap } from "../../src/kernels/softcap.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, tensor, testDevice, uniform } from "../helpers/kernels.ts"
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

  test("reaches the cap and never NaN for numbers however large", async () => {
    const x = Float32Array.of(0, 1e-30, 90, -90, 200, 1e4, -1e4, 1e10, -1e30, 3.4e38, -3.4e38, 5000)
    const input = tensor(device(), [1, 12], x)
    const y = await compute(device(), (run) => softcap(run, input, 30))
    expectClose(y, reference.softcap(x, 30), { absolute: 3e-5 }, { what: "softcap large" })
  })
})
