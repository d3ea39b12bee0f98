import { describe, expect, test } from "vitest"
import { add } from "../../src/kernels/add.ts"
import { hgrnGates, hgrnGatesBackward, hgrnGatesBackwardInput } from "../../src/kernels/hgrn_gates.ts"
import { lowerBound } from "../../src/kernels/lower_bound.ts"
import { recompute } from "../../src/kernels/recompute.ts"
import { recurrence } from "../../src/kernels/recurrence.ts"
import { Run } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import { compute, free, matrix, repeat, tensor, testDevice, uniform, weights } from "../helpers/kernels.ts"
import * as reference from "../reference/hgrn.ts"
import * as bounds from "../reference/lower_bound.ts"
import * as scan from "../reference/recurrence.ts"

const shapes = [
  [1, 4],
  [5, 12],
  [33, 172],
  [70, 36],
  [1, 1024],
  [3, 2560],
] as const

/** With and without a bound, with and without sequences behind one another. */
const variants = [
  { bounded: false, packed: false },
  { bounded: true, packed: false },
  { bounded: false, packed: true },
  { bounded: true, packed: true },
] as const
type Variant = (typeof variants)[number]

const cases = shapes.flatMap(([T, C]) => variants.map((variant) => ({ T, C, ...variant })))

/** Bounds from 0 to 1. */
const share = (n: number, seed: number) => uniform(n, seed).map((value) => (value + 1) / 2)

/** Where each position's sequence begins, for sequences of these lengths. */
function startsOf(lengths: readonly number[]): Uint32Array<ArrayBuffer> {
  let start = 0
  return Uint32Array.from(
    lengths.flatMap((length) => {
      const all = new Array<number>(length).fill(start)
      start += length
      return all
    }),
  )
}

/** Sequences of 1 and 2 positions, then the rest. */
const packing = (T: number) => startsOf(T > 3 ? [1, 2, T - 3] : new Array<number>(T).fill(1))

describe("hgrnGates", () => {
  const device = testDevice()

  test.each(cases)("equal their definition for [$T, $C], bounded $bounded, packed $packed", async (of) => {
    const { T, C } = of
    const { data, inputs, options, gates } = example(device(), of)
    const run = new Run(device())
    const { decay, input } = hgrnGates(run, inputs.i, inputs.z, options)
    const [d, n] = await readAll(device(), run, [decay, input])
    const expected = reference.gates(data.i, data.z, C, gates)
    expectClose(d!, expected.decay, { relative: 1e-6 }, { what: `hgrnGates [${T}, ${C}] decay` })
    expectClose(n!, expected.input, { relative: 2e-6 }, { what: `hgrnGates [${T}, ${C}] input` })
  })

  test("leave no element out where there are more workgroups than one dimension has", async () => {
    const [T, C, period] = [8200, 2048, 4 * 1021]
    const part = uniform(period, 4)
    const x = tensor(device(), [T, C], repeat(part, T * C))
    const expected = reference.gates(part, part, period, {})
    for (const name of ["decay", "input"] as const) {
      const y = await compute(device(), (run) => hgrnGates(run, x, x)[name])
      const block = y.slice(0, period)
      expectClose(block, expected[name], { relative: 1e-6 }, { what: `hgrnGates block ${name}` })
      expect(Buffer.compare(Buffer.from(y.buffer), Buffer.from(repeat(block, T * C).buffer))).toBe(0)
    }
    free(device(), x)
  })

  test.each(variants)("are right and never NaN at any size, bounded $bounded, packed $packed", async (of) => {
    for (const size of [0, 1e-20, 1e-3, 20, 79, 81, 100, 1e4]) {
      const sides = Float32Array.of(size, -size, size, -size)
      const across = Float32Array.of(size, size, -size, -size)
      const { inputs, options, gates } = example(device(), { T: 1, C: 4, ...of }, sides, across)
      const run = new Run(device(), new Tape())
      const { decay, input } = hgrnGates(run, inputs.i, inputs.z, options)
      const wrt = [inputs.i, inputs.z, ...(options.lower ? [options.lower] : [])]
      const both = add(run, decay, input)
      const all = run.tape!.gradients(run, both, tensor(device(), [1, 4], new Float32Array(4).fill(1)), wrt)
      const results = await readAll(device(), run, [decay, input, ...all.map((gradient) => gradient!)])
      const expected = reference.gates(sides, across, 4, gates)
      const ones = { ddecay: [1, 1, 1, 1], dinput: [1, 1, 1, 1] }
      const { di, dz, dlower } = reference.gatesBackward(sides, across, 4, gates, ones)
      for (const [n, numbers] of [expected.decay, expected.input, di, dz, dlower].slice(0, results.length).entries()) {
        const what = `hgrnGates ${["decay", "input", "di", "dz", "dlower"][n]} at ${size}`
        for (const [side, number] of numbers.entries()) {
          expectClose([results[n]![side]!], [number], { relative: 2e-5, absolute: 1e-30 }, { what: `${what}[${side}]` })
        }
      }
    }
  })

  test("keep the input's digits where the decay is near 1", async () => {
    const [i, z] = [Float32Array.of(1, 1, 1, 1), Float32Array.of(20, 25, 30, 40)]
    const [x, y] = [tensor(device(), [1, 4], i), tensor(device(), [1, 4], z)]
    const input = await compute(device(), (run) => hgrnGates(run, x, y).input)
    const expected = reference.gates(i, z, 4, {}).input
    const ratios = Float64Array.from(input, (value, n) => value / expected[n]!)
    expectClose(ratios, [1, 1, 1, 1], { absolute: 1e-5 }, { what: "hgrnGates input over its definition" })
  })

  test("refuse other shapes and types", () => {
    const run = new Run(device())
    const x = run.empty([2, 8])
    expect(() => hgrnGates(run, x, run.empty([3, 8]))).toThrow(
      new RangeError("hgrnGates: z is [3, 8], expected [2, 8]"),
    )
    expect(() => hgrnGates(run, run.empty([2, 6]), x)).toThrow(
      new RangeError("hgrnGates: i has rows of 6, expected a multiple of 4"),
    )
    expect(() => hgrnGates(run, x, x, { lower: run.empty([4]) })).toThrow(
      new RangeError("hgrnGates: lower is [4], expected [8]"),
    )
    expect(() => hgrnGates(run, x, x, { lower: run.empty([8], "bf16") })).toThrow(
      new TypeError("hgrnGates: lower is bf16, expected f32"),
    )
    expect(() => hgrnGates(run, x, x, { starts: run.empty([8], "u32") })).toThrow(
      new RangeError("hgrnGates: starts is [8], expected [2]"),
    )
    expect(() => hgrnGates(run, x, x, { starts: run.empty([2]) })).toThrow(
      new TypeError("hgrnGates: starts is f32, expected u32"),
    )
    expect(() => hgrnGatesBackward(run, x, undefined, run.empty([2, 4]))).toThrow(
      new RangeError("hgrnGatesBackward: df is [2, 4], expected [2, 8]"),
    )
    expect(() => hgrnGatesBackwardInput(run, x, x, undefined, run.empty([2, 4]))).toThrow(
      new RangeError("hgrnGatesBackwardInput: dinput is [2, 4], expected [2, 8]"),
    )
  })
})

describe("hgrnGates, backward", () => {
  const device = testDevice()

  describe.each(["decay", "input", "both"] as const)("by way of %s", (way) => {
    test.each(cases)("is the slope of its definition for [$T, $C], bounded $bounded, packed $packed", async (of) => {
      const { T, C } = of
      const { data, inputs, options, gates } = example(device(), of)
      const dy = uniform(T * C, 9)
      const build = (run: Run) => {
        const { decay, input } = hgrnGates(run, inputs.i, inputs.z, options)
        return way === "both" ? add(run, decay, input) : way === "decay" ? decay : input
      }
      const variables = [inputs.z, ...(way === "decay" ? [] : [inputs.i]), ...(options.lower ? [options.lower] : [])]
      const all = await gradients(device(), build, tensor(device(), [T, C], dy), variables)
      const dz = all.shift()!
      const di = way === "decay" ? undefined : all.shift()
      const dlower = all.shift()
      const given = { ...(way === "input" ? {} : { ddecay: dy }), ...(way === "decay" ? {} : { dinput: dy }) }
      const expected = reference.gatesBackward(data.i, data.z, C, gates, given)
      const f = (i: ArrayLike<number>, z: ArrayLike<number>, lower: ArrayLike<number> | undefined) => {
        const { decay, input } = reference.gates(i, z, C, { ...gates, lower })
        return way === "both" ? decay.map((value, n) => value + input[n]!) : way === "decay" ? decay : input
      }
      const what = `hgrnGates by ${way} [${T}, ${C}]`
      expectClose(dz, expected.dz, { relative: 3e-6 }, { what: `${what}, dz` })
      expectSlope(dz, { f: (z) => f(data.i, z, data.lower), x: data.z, dy }, 1e-6, { what: `${what}, dz` })
      if (di) {
        expectClose(di, expected.di, { relative: 2e-6 }, { what: `${what}, di` })
        expectSlope(di, { f: (i) => f(i, data.z, data.lower), x: data.i, dy }, 1e-6, { what: `${what}, di` })
      }
      if (data.lower) {
        expectClose(dlower!, expected.dlower, { relative: 2e-6 }, { what: `${what}, dlower` })
        const byLower = { f: (lower: Float64Array) => f(data.i, data.z, lower), x: data.lower, dy }
        expectSlope(dlower!, byLower, 1e-6, { what: `${what}, dlower` })
      }
    })
  })

  test("goes from the recurrence through the gates to bounds of all layers", async () => {
    const [T, C, L, layer] = [70, 12, 5, 3]
    const [i, z, dh] = [uniform(T * C, 1, 3), uniform(T * C, 2, 3), uniform(T * C, 3)]
    const all = weights(L * C, 4, "bf16")
    const [x, y, output] = [i, z, dh].map((data) => tensor(device(), [T, C], data)) as [Tensor, Tensor, Tensor]
    const m = matrix(device(), [L, C], all)
    const build = (run: Run) => {
      const { decay, input } = hgrnGates(run, x, y, { lower: lowerBound(run, m, layer) })
      return recurrence(run, decay, input)
    }
    const f = (i: ArrayLike<number>, z: ArrayLike<number>, all: ArrayLike<number>) => {
      const { decay, input } = reference.gates(i, z, C, { lower: bounds.lowerBound(all, C, layer) })
      return scan.recurrence(decay, input, C)
    }
    const [di, dz, dbounds] = await gradients(device(), build, output, [x, y, m])
    expectSlope(di!, { f: (i) => f(i, z, all.values), x: i, dy: dh }, 1e-6, { what: "hgrn di" })
    expectSlope(dz!, { f: (z) => f(i, z, all.values), x: z, dy: dh }, 1e-6, { what: "hgrn dz" })
    expectSlope(dbounds!, { f: (all) => f(i, z, all), x: all.values, dy: dh }, 1e-6, { what: "hgrn dbounds" })
  })

  test("of sequences behind one another is that of each alone, and so is what they give", async () => {
    const C = 12
    const lengths = [5, 1, 70, 64]
    const starts = startsOf(lengths)
    const T = starts.length
    const data = { i: uniform(T * C, 1, 3), z: uniform(T * C, 2, 3), dh: uniform(T * C, 3), lower: share(C, 4) }
    const lower = tensor(device(), [C], data.lower)
    const go = async (from: number, to: number, starts?: Uint32Array<ArrayBuffer>) => {
      const part = (x: Float32Array<ArrayBuffer>) => tensor(device(), [to - from, C], x.slice(from * C, to * C))
      const [x, y, output] = [part(data.i), part(data.z), part(data.dh)]
      const begins = starts && tensor(device(), [T], starts)
      const build = (run: Run) => {
        const { decay, input } = hgrnGates(run, x, y, { lower, starts: begins })
        return recurrence(run, decay, input)
      }
      const h = await compute(device(), build)
      const [di, dz, dlower] = await gradients(device(), build, output, [x, y, lower])
      return { h, di: di!, dz: dz!, dlower: dlower! }
    }
    const packed = await go(0, T, starts)
    const sum = new Float64Array(C)
    for (const [s, length] of lengths.entries()) {
      const from = lengths.slice(0, s).reduce((sum, n) => sum + n, 0)
      const alone = await go(from, from + length)
      for (const name of ["h", "di", "dz"] as const) {
        const part = packed[name].subarray(from * C, (from + length) * C)
        expectClose(part, alone[name], { relative: 1e-6 }, { what: `packed ${name} of sequence ${s}` })
      }
      alone.dlower.forEach((value, c) => {
        sum[c]! += value
      })
    }
    expectClose(packed.dlower, sum, { relative: 1e-6 }, { what: "packed dlower" })
  })

  test("is the same to the bit when it is computed again from its input", async () => {
    const of = { T: 70, C: 36, bounded: true, packed: true } as const
    const { inputs, options } = example(device(), of)
    const part = (run: Run) => (x: Tensor) => {
      const { decay, input } = hgrnGates(run, x, inputs.z, options)
      return recurrence(run, decay, input)
    }
    const dy = tensor(device(), [of.T, of.C], uniform(of.T * of.C, 9))
    const wrt = [inputs.i, inputs.z, options.lower!]
    const kept = await gradients(device(), (run) => part(run)(inputs.i), dy, wrt)
    const again = await gradients(device(), (run) => recompute(run, inputs.i, part(run)), dy, wrt)
    expect(again).toEqual(kept)
  })
})

/** Numbers for the gates, on the device and beside it. */
function example(
  device: Parameters<typeof tensor>[0],
  { T, C, bounded, packed }: { T: number; C: number } & Variant,
  i = uniform(T * C, 1, 4),
  z = uniform(T * C, 2, 4),
) {
  const lower = bounded ? share(C, 3) : undefined
  const starts = packed ? packing(T) : undefined
  return {
    data: { i, z, lower },
    inputs: { i: tensor(device, [T, C], i), z: tensor(device, [T, C], z) },
    options: { lower: lower && tensor(device, [C], lower), starts: starts && tensor(device, [T], starts) },
    gates: { lower, starts },
  }
}
