import { describe, expect, test } from "vitest"
import { add } from "../../src/kernels/add.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { gradients } from "../helpers/gradients.ts"
import { compute, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/add.ts"

describe("add", () => {
  const device = testDevice()

  test.each([
    [1, 4],
    [3, 12],
    [33, 172],
    [1, 640],
    [5, 1152],
    [2, 2560],
  ])("gives a + b for [%i, %i]", async (T, C) => {
    const [a, b] = [uniform(T * C, 1), uniform(T * C, 2)]
    const [x, y] = [tensor(device(), [T, C], a), tensor(device(), [T, C], b)]
    const sum = await compute(device(), (run) => add(run, x, y))
    expectClose(sum, reference.add(a, b), { relative: 2e-7 }, { what: "add" })
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [T, C, period] = [8200, 2048, 4 * 1021]
    const x = tensor(device(), [T, C], repeat(uniform(period, 4), T * C))
    const sum = await compute(device(), (run) => add(run, x, x))
    const block = sum.slice(0, period)
    expectClose(block, reference.add(uniform(period, 4), uniform(period, 4)), { relative: 2e-7 }, { what: "add block" })
    expect(Buffer.compare(Buffer.from(sum.buffer), Buffer.from(repeat(block, T * C).buffer))).toBe(0)
  })

  test("adds a tensor to itself", async () => {
    const a = uniform(20, 3)
    const x = tensor(device(), [5, 4], a)
    expect(await compute(device(), (run) => add(run, x, x))).toEqual(a.map((value) => 2 * value))
  })

  test("refuses shapes that differ or are not rows of vec4s", () => {
    const run = new Run(device())
    const x = (...shape: number[]) => run.empty(shape)
    expect(() => add(run, x(2, 8), x(2, 12))).toThrow(new RangeError("add: b is [2, 12], expected [2, 8]"))
    expect(() => add(run, x(2, 6), x(2, 6))).toThrow(new RangeError("add: a has rows of 6, expected a multiple of 4"))
    expect(() => add(run, x(8), x(8))).toThrow(new RangeError("add: a is [8], expected [T, C]"))
  })
})

describe("add, backward", () => {
  const device = testDevice()

  test("gives dy to both, to the bit", async () => {
    const dy = uniform(5 * 12, 5)
    const [a, b] = [tensor(device(), [5, 12], uniform(60, 6)), tensor(device(), [5, 12], uniform(60, 7))]
    const [da, db] = await gradients(device(), (run) => add(run, a, add(run, b, b)), tensor(device(), [5, 12], dy), [
      a,
      b,
    ])
    expect(da).toEqual(dy)
    expect(db).toEqual(dy.map((value) => 2 * value))
  })
})
