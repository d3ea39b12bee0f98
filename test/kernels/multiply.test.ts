import { describe, expect, test } from "vitest"
import { multiply } from "../../src/kernels/multiply.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/multiply.ts"

describe("multiply", () => {
  const device = testDevice()

  test.each([
    [1, 4],
    [3, 12],
    [33, 172],
    [1, 640],
  ])("gives a * b, and its slope backward, for [%i, %i]", async (T, C) => {
    const [a, b, dy] = [uniform(T * C, 1), uniform(T * C, 2), uniform(T * C, 3)]
    const [left, right] = [tensor(device(), [T, C], a), tensor(device(), [T, C], b)]
    const build = (run: Run) => multiply(run, left, right)
    const y = await compute(device(), build)
    expectClose(y, reference.multiply(a, b), { relative: 2e-7 }, { what: "multiply" })
    const [da, db] = await gradients(device(), build, tensor(device(), [T, C], dy), [left, right])
    expectClose(da!, reference.multiply(dy, b), { relative: 2e-7 }, { what: "multiply, da" })
    expectClose(db!, reference.multiply(dy, a), { relative: 2e-7 }, { what: "multiply, db" })
    const ofA = { f: (x: Float64Array) => reference.multiply(x, b), x: a, dy }
    const ofB = { f: (x: Float64Array) => reference.multiply(a, x), x: b, dy }
    expectSlope(da!, ofA, 1e-6, { what: "multiply, da" })
    expectSlope(db!, ofB, 1e-6, { what: "multiply, db" })
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [T, C, period] = [8200, 2048, 4 * 1021]
    const part = uniform(period, 4)
    const x = tensor(device(), [T, C], repeat(part, T * C))
    const y = await compute(device(), (run) => multiply(run, x, x))
    const block = y.slice(0, period)
    expectClose(block, reference.multiply(part, part), { relative: 2e-7 }, { what: "multiply block" })
    expect(Buffer.compare(Buffer.from(y.buffer), Buffer.from(repeat(block, T * C).buffer))).toBe(0)
    free(device(), x)
  })

  test("squares a tensor, whose gradient has both shares", async () => {
    const [a, dy] = [uniform(20, 5), uniform(20, 6)]
    const x = tensor(device(), [5, 4], a)
    const [dx] = await gradients(device(), (run) => multiply(run, x, x), tensor(device(), [5, 4], dy), [x])
    expectClose(
      dx!,
      reference.multiply(
        dy,
        a.map((value) => 2 * value),
      ),
      { relative: 4e-7 },
      { what: "multiply, dx" },
    )
  })

  test("refuses shapes that differ or are not rows of vec4s", () => {
    const run = new Run(device())
    const x = (...shape: number[]) => run.empty(shape)
    expect(() => multiply(run, x(2, 8), x(2, 12))).toThrow(new RangeError("multiply: b is [2, 12], expected [2, 8]"))
    expect(() => multiply(run, x(2, 6), x(2, 6))).toThrow(
      new RangeError("multiply: a has rows of 6, expected a multiple of 4"),
    )
  })
})
