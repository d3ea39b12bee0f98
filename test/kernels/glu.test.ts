import { describe, expect, test } from "vitest"
import { glu, gluBackward, gluHalves, gluHalvesBackward } from "../../src/kernels/glu.ts"
import { Run } from "../../src/kernels/run.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import { compute, free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/glu.ts"

/** Each by its own size: one that should be next to 0 must not hide behind one that is huge. */
function expectEach(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  for (let i = 0; i < expected.length; i++) {
    expectClose([actual[i]!], [expected[i]!], { relative: 2e-5, absolute: 1e-15 }, { what: `${what}[${i}]` })
  }
}

describe.each(["gelu_tanh", "silu"] as const)("glu %s", (activation) => {
  const device = testDevice()

  test.each([
    [1, 4],
    [5, 12],
    [33, 172],
    [1, 2048],
    [3, 6912],
  ])("equals its definition for [%i, %i]", async (T, F) => {
    const [gate, up] = [uniform(T * F, 1, 4), uniform(T * F, 2)]
    const [g, u] = [tensor(device(), [T, F], gate), tensor(device(), [T, F], up)]
    const y = await compute(device(), (run) => glu(run, g, u, activation))
    expectClose(y, reference.glu(gate, up, activation), { relative: 1e-6 }, { what: `glu ${activation}` })
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [T, F, period] = [8200, 2048, 4 * 1021]
    const part = uniform(period, 4)
    const x = tensor(device(), [T, F], repeat(part, T * F))
    const y = await compute(device(), (run) => glu(run, x, x, activation))
    const block = y.slice(0, period)
    expectClose(block, reference.glu(part, part, activation), { relative: 1e-6 }, { what: "glu block" })
    expect(Buffer.compare(Buffer.from(y.buffer), Buffer.from(repeat(block, T * F).buffer))).toBe(0)
  })

  test("is right from the smallest to the largest inputs, and never NaN", async () => {
    const sizes = [0, 1e-20, 1e-5, 0.1, 1, 5, 6, 8, 10, 20, 50, 79, 81, 87, 89, 100, 200, 1000, 1e4, 1e20, 3e38]
    for (const size of sizes) {
      const gate = Float32Array.of(size, -size, size * 0.9, -size * 0.9)
      const up = Float32Array.of(1, 1, -1, 0.5)
      const [g, u] = [tensor(device(), [1, 4], gate), tensor(device(), [1, 4], up)]
      const y = await compute(device(), (run) => glu(run, g, u, activation))
      const expected = reference.glu(gate, up, activation)
      expectEach(y, expected, `glu ${activation} at ${size}`)
    }
  })

  test("refuses gate and up of different shapes", () => {
    const run = new Run(device())
    expect(() => glu(run, run.empty([2, 8]), run.empty([3, 8]), activation)).toThrow(
      new RangeError("glu: up is [3, 8], expected [2, 8]"),
    )
    expect(() => glu(run, run.empty([2, 3]), run.empty([2, 3]), activation)).toThrow(
      new RangeError("glu: gate has rows of 3, expected a multiple of 4"),
    )
  })
})

describe.each(["gelu_tanh", "silu"] as const)("glu %s, backward", (activation) => {
  const device = testDevice()

  test.each([
    [1, 4],
    [5, 12],
    [33, 172],
    [1, 2048],
    [3, 6912],
  ])("is the slope of its definition for [%i, %i]", async (T, F) => {
    const [gate, up, dy] = [uniform(T * F, 1, 6), uniform(T * F, 2), uniform(T * F, 3)]
    const [g, u, output] = [gate, up, dy].map((data) => tensor(device(), [T, F], data)) as [Tensor, Tensor, Tensor]
    const [dgate, dup] = await gradients(device(), (run) => glu(run, g, u, activation), output, [g, u])
    const expected = reference.gluBackward(gate, up, dy, activation)
    const what = `glu ${activation} [${T}, ${F}]`
    expectClose(dgate!, expected.dgate, { relative: 1e-6 }, { what: `${what}, dgate` })
    expectClose(dup!, expected.dup, { relative: 1e-6 }, { what: `${what}, dup` })
    const byGate = { f: (gate: Float64Array) => reference.glu(gate, up, activation), x: gate, dy }
    const byUp = { f: (up: Float64Array) => reference.glu(gate, up, activation), x: up, dy }
    expectSlope(dgate!, byGate, 1e-6, { what: `${what}, dgate` })
    expectSlope(dup!, byUp, 1e-6, { what: `${what}, dup` })
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [T, F, period] = [8200, 2048, 4 * 1021]
    const part = uniform(period, 4)
    const x = tensor(device(), [T, F], repeat(part, T * F))
    const expected = reference.gluBackward(part, part, part, activation)
    const run = new Run(device())
    const { dgate, dup } = gluBackward(run, x, x, x, activation)
    for (const [i, gradient] of (await readAll(device(), run, [dgate, dup])).entries()) {
      const name = i === 0 ? "dgate" : "dup"
      const block = gradient.slice(0, period)
      expectClose(block, expected[name], { relative: 1e-6 }, { what: `glu block ${name}` })
      expect(Buffer.compare(Buffer.from(gradient.buffer), Buffer.from(repeat(block, T * F).buffer))).toBe(0)
    }
    free(device(), x)
  })

  test("is right from the smallest to the largest inputs, and never NaN", async () => {
    const sizes = [0, 1e-20, 1e-5, 0.1, 1, 5, 6, 8, 10, 20, 50, 79, 81, 87, 89, 100, 200, 1000, 1e4, 1e20, 3e38]
    for (const size of sizes) {
      const gate = Float32Array.of(size, -size, size * 0.9, -size * 0.9)
      const [up, dy] = [Float32Array.of(1, 1, -1, 0.5), Float32Array.of(0.5, 1, 1, -1)]
      const [g, u, output] = [gate, up, dy].map((data) => tensor(device(), [1, 4], data)) as [Tensor, Tensor, Tensor]
      const [dgate, dup] = await gradients(device(), (run) => glu(run, g, u, activation), output, [g, u])
      const expected = reference.gluBackward(gate, up, dy, activation)
      expectEach(dgate!, expected.dgate, `glu ${activation} dgate at ${size}`)
      expectEach(dup!, expected.dup, `glu ${activation} dup at ${size}`)
    }
  })

  test("refuses dy of another shape", () => {
    const run = new Run(device())
    const x = run.empty([2, 8])
    expect(() => gluBackward(run, x, x, run.empty([2, 4]), activation)).toThrow(
      new RangeError("gluBackward: dy is [2, 4], expected [2, 8]"),
    )
  })
})

describe.each(["gelu_tanh", "silu"] as const)("gluHalves %s", (activation) => {
  const device = testDevice()
  const shapes = [
    [1, 4],
    [5, 12],
    [33, 172],
    [3, 2816],
  ] as const

  test.each(shapes)("equals its definition for [%i, 2 * %i], and so does its gradient", async (T, F) => {
    const [x, dy] = [uniform(2 * T * F, 1, 4), uniform(T * F, 2)]
    const [input, output] = [tensor(device(), [T, 2 * F], x), tensor(device(), [T, F], dy)]
    const what = `gluHalves ${activation} [${T}, ${F}]`
    const y = await compute(device(), (run) => gluHalves(run, input, activation))
    expectClose(y, reference.gluHalves(x, F, activation), { relative: 1e-6 }, { what })
    const [dx] = await gradients(device(), (run) => gluHalves(run, input, activation), output, [input])
    const expected = reference.gluHalvesBackward(x, F, dy, activation)
    expectClose(dx!, expected, { relative: 1e-6 }, { what: `${what}, dx` })
    const f = (x: Float64Array) => reference.gluHalves(x, F, activation)
    expectSlope(dx!, { f, x, dy }, 1e-6, { what: `${what}, dx` })
  })

  test("gives what glu gives of the two halves, to the bit", async () => {
    const [T, F] = [3, 172]
    const halves = [uniform(T * F, 1, 6), uniform(T * F, 2)] as const
    const x = new Float32Array(2 * T * F)
    for (let t = 0; t < T; t++) {
      halves.forEach((half, i) => {
        x.set(half.subarray(t * F, (t + 1) * F), (2 * t + i) * F)
      })
    }
    const [gate, up] = [tensor(device(), [T, F], halves[0]), tensor(device(), [T, F], halves[1])]
    const whole = tensor(device(), [T, 2 * F], x)
    const apart = await compute(device(), (run) => glu(run, gate, up, activation))
    expect(await compute(device(), (run) => gluHalves(run, whole, activation))).toEqual(apart)
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [T, F] = [8192, 2048] // as many as one binding holds
    const row = uniform(2 * F, 4)
    const x = tensor(device(), [T, 2 * F], repeat(row, 2 * T * F))
    const y = await compute(device(), (run) => gluHalves(run, x, activation))
    const first = y.slice(0, F)
    expectClose(first, reference.gluHalves(row, F, activation), { relative: 1e-6 }, { what: "gluHalves row" })
    expect(Buffer.compare(Buffer.from(y.buffer), Buffer.from(repeat(first, T * F).buffer))).toBe(0)
    free(device(), x)
  })

  test("refuses rows that are not two halves of whole fours, and dy of another shape", () => {
    const run = new Run(device())
    expect(() => gluHalves(run, run.empty([2, 12]), activation)).toThrow(
      new RangeError("gluHalves: x has rows of 12, expected a multiple of 8"),
    )
    expect(() => gluHalvesBackward(run, run.empty([2, 8]), run.empty([2, 8]), activation)).toThrow(
      new RangeError("gluHalvesBackward: dy is [2, 8], expected [2, 4]"),
    )
  })
})
