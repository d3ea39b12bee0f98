import { describe, expect, test } from "vitest"
import { Run } from "../../src/kernels/run.ts"
import { scaleColumns, scaleColumnsBackwardMagnitude } from "../../src/kernels/scale_columns.ts"
import { Tape } from "../../src/kernels/tape.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/scale_columns.ts"

const shapes = [
  [1, 1],
  [1, 4],
  [5, 7],
  [33, 172],
  [9, 33],
  [1, 2048],
  [3, 1153],
  [640, 2048],
] as const

/** Norms as weights have them: above 0. */
const positive = (n: number, seed: number) => uniform(n, seed).map((value) => Math.abs(value) + 0.25)

describe("scaleColumns", () => {
  const device = testDevice()

  test.each(shapes)("gives x * magnitude / norm for [%i, %i]", async (T, N) => {
    const [x, magnitude, norm] = [uniform(T * N, 1), uniform(N, 2), positive(N, 3)]
    const inputs = [tensor(device(), [T, N], x), tensor(device(), [N], magnitude), tensor(device(), [N], norm)] as const
    const y = await compute(device(), (run) => scaleColumns(run, ...inputs))
    const expected = reference.scaleColumns(x, magnitude, norm)
    expectClose(y, expected, { relative: 1e-6 }, { what: `scaleColumns [${T}, ${N}]` })
    free(device(), ...inputs)
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [T, N] = [2100, 2048]
    const [row, magnitude, norm] = [uniform(N, 1), uniform(N, 2), positive(N, 3)]
    const x = tensor(device(), [T, N], repeat(row, T * N))
    const [m, n] = [tensor(device(), [N], magnitude), tensor(device(), [N], norm)]
    const y = await compute(device(), (run) => scaleColumns(run, x, m, n))
    const block = y.slice(0, N)
    const expected = reference.scaleColumns(row, magnitude, norm)
    expectClose(block, expected, { relative: 1e-6 }, { what: "scaleColumns block" })
    expect(Buffer.compare(Buffer.from(y.buffer), Buffer.from(repeat(block, T * N).buffer))).toBe(0)
    free(device(), x)
  })

  test("leaves x as it is where magnitudes are the norms", async () => {
    const [T, N] = [7, 33]
    const x = uniform(T * N, 1)
    const norm = tensor(device(), [N], positive(N, 2))
    const y = await compute(device(), (run) => scaleColumns(run, tensor(device(), [T, N], x), norm, norm))
    expectClose(y, x, { relative: 1e-6 }, { what: "scaleColumns by 1" })
  })

  test("is 0 in columns whose norm is 0, and so are their gradients", async () => {
    const [T, N] = [3, 5]
    const zero = (data: Float32Array<ArrayBuffer>) => data.map((value, i) => (i % N === 2 ? 0 : value))
    const [x, magnitude, norm] = [uniform(T * N, 1), zero(positive(N, 2)), zero(positive(N, 3))]
    const dy = uniform(T * N, 4)
    const inputs = [tensor(device(), [T, N], x), tensor(device(), [N], magnitude), tensor(device(), [N], norm)] as const
    const build = (run: Run) => scaleColumns(run, ...inputs)
    const output = tensor(device(), [T, N], dy)
    const y = await compute(device(), build)
    const [dx, dmagnitude] = await gradients(device(), build, output, inputs.slice(0, 2))
    const expected = reference.scaleColumnsBackward(x, magnitude, norm, dy)
    const defined = (all: Float64Array) => all.map((value, i) => (i % N === 2 ? 0 : value))
    const tolerance = { relative: 1e-6 }
    expectClose(y, defined(reference.scaleColumns(x, magnitude, norm)), tolerance, { what: "scaleColumns norm 0" })
    expectClose(dx!, defined(expected.dx), tolerance, { what: "scaleColumns norm 0, dx" })
    expectClose(dmagnitude!, defined(expected.dmagnitude), tolerance, { what: "scaleColumns norm 0, dmagnitude" })
  })

  test("refuses other shapes", () => {
    const run = new Run(device())
    const of = (...shape: number[]) => run.empty(shape)
    expect(() => scaleColumns(run, of(14), of(7), of(7))).toThrow(
      new RangeError("scaleColumns: x is [14], expected [T, N]"),
    )
    expect(() => scaleColumns(run, of(2, 7), of(8), of(7))).toThrow(
      new RangeError("scaleColumns: magnitude is [8], expected [7]"),
    )
    expect(() => scaleColumns(run, of(2, 7), of(7), of(2))).toThrow(
      new RangeError("scaleColumns: norm is [2], expected [7]"),
    )
    expect(() => scaleColumnsBackwardMagnitude(run, of(2, 7), of(3, 7), of(7))).toThrow(
      new RangeError("scaleColumnsBackwardMagnitude: dy is [3, 7], expected [2, 7]"),
    )
  })
})

describe("scaleColumns, backward", () => {
  const device = testDevice()

  test.each(shapes)("is the slope of its definition for [%i, %i]", async (T, N) => {
    const [x, magnitude, norm, dy] = [uniform(T * N, 1), uniform(N, 2), positive(N, 3), uniform(T * N, 4)]
    const inputs = [tensor(device(), [T, N], x), tensor(device(), [N], magnitude), tensor(device(), [N], norm)] as const
    const output = tensor(device(), [T, N], dy)
    const build = (run: Run) => scaleColumns(run, ...inputs)
    const [dx, dmagnitude] = await gradients(device(), build, output, inputs.slice(0, 2))
    const expected = reference.scaleColumnsBackward(x, magnitude, norm, dy)
    const what = `scaleColumns [${T}, ${N}]`
    expectClose(dx!, expected.dx, { relative: 1e-6 }, { what: `${what}, dx` })
    expectClose(dmagnitude!, expected.dmagnitude, { relative: 2e-6 }, { what: `${what}, dmagnitude` })
    const ofX = { f: (x: Float64Array) => reference.scaleColumns(x, magnitude, norm), x, dy }
    const ofMagnitude = { f: (m: Float64Array) => reference.scaleColumns(x, m, norm), x: magnitude, dy }
    expectSlope(dx!, ofX, 1e-6, { what: `${what}, dx` })
    expectSlope(dmagnitude!, ofMagnitude, 1e-6, { what: `${what}, dmagnitude` })
    free(device(), ...inputs, output)
  })

  test("gives none to the norms", () => {
    const tape = new Tape()
    const run = new Run(device(), tape)
    const [x, magnitude, norm] = [run.empty([2, 7]), run.empty([7]), run.empty([7])]
    const y = scaleColumns(run, x, magnitude, norm)
    expect(tape.gradients(run, y, run.empty([2, 7]), [norm])).toEqual([undefined])
  })
})
