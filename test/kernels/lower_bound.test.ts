import { describe, expect, test } from "vitest"
import { add } from "../../src/kernels/add.ts"
import { lowerBound, lowerBoundBackward } from "../../src/kernels/lower_bound.ts"
import { Run } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import { type Matrix, view } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  type Weights,
  weights,
} from "../helpers/kernels.ts"
import * as reference from "../reference/lower_bound.ts"

const f32 = (values: Float32Array<ArrayBuffer>): Weights => ({ dtype: "f32", stored: values, values })

const shapes = [
  [1, 4],
  [2, 12],
  [5, 260],
  [24, 1024],
  [32, 2560],
] as const

/** The first layer, the last, and those next to them. */
const layersOf = (L: number) => [...new Set([0, 1, L - 2, L - 1])].filter((layer) => layer >= 0 && layer < L)

describe("lowerBound", () => {
  const device = testDevice()

  test.each(shapes)("equals its definition for [%i, %i], bounds in every type", async (L, C) => {
    for (const dtype of WEIGHT_DTYPES) {
      const bounds = weights(L * C, 1, dtype)
      const m = matrix(device(), [L, C], bounds)
      for (const layer of layersOf(L)) {
        const y = await compute(device(), (run) => lowerBound(run, m, layer))
        const expected = reference.lowerBound(bounds.values, C, layer)
        expectClose(y, expected, { relative: 1e-6 }, { what: `lowerBound ${dtype} [${L}, ${C}] layer ${layer}` })
      }
      free(device(), m)
    }
  })

  test("is layer / L where bounds are all 0", async () => {
    const [L, C] = [24, 8]
    const m = matrix(device(), [L, C], f32(new Float32Array(L * C)))
    const first = async (layer: number) => (await compute(device(), (run) => lowerBound(run, m, layer)))[0]!
    for (const layer of [0, 1, 12, 23]) {
      const y = await compute(device(), (run) => lowerBound(run, m, layer))
      expectClose(y, new Float64Array(C).fill(layer / L), { absolute: 1e-7 }, { what: `lowerBound layer ${layer}` })
    }
    expect((await first(1)).toFixed(4)).toBe("0.0417")
    expect((await first(23)).toFixed(4)).toBe("0.9583")
    expect(await first(0)).toBe(0)
  })

  test("stays finite for bounds of any size, and so do gradients", async () => {
    const [L, C] = [3, 4]
    for (const size of [1e-20, 100, 1e4, 3e38]) {
      const bounds = Float32Array.from({ length: L * C }, (_, i) => [size, -size, 0, size, size / 2, -size, 0][i % 7]!)
      const dy = uniform(C, 2)
      const m = matrix(device(), [L, C], f32(bounds))
      const build = (run: Run) => lowerBound(run, m, 1)
      const expected = reference.lowerBound(bounds, C, 1)
      expectClose(await compute(device(), build), expected, { absolute: 1e-6 }, { what: `lowerBound at ${size}` })
      const [dbounds] = await gradients(device(), build, tensor(device(), [C], dy), [m])
      const backward = reference.lowerBoundBackward(bounds, C, 1, dy)
      expectClose(dbounds!, backward, { absolute: 1e-6 }, { what: `lowerBound dbounds at ${size}` })
    }
  })

  test("refuses layers that are not there, and bounds in parts", () => {
    const run = new Run(device())
    const m = matrix(device(), [3, 8], weights(24, 1, "bf16"))
    for (const layer of [-1, 3, 0.5]) {
      expect(() => lowerBound(run, m, layer)).toThrow(
        new RangeError(`lowerBound: layer is ${layer}, expected an integer from 0 to 2`),
      )
    }
    expect(() => lowerBound(run, matrix(device(), [3, 8], weights(24, 1, "bf16"), 2), 1)).toThrow(
      new RangeError("lowerBound: bounds has 2 parts, expected 1"),
    )
    expect(() => lowerBound(run, matrix(device(), [3, 6], weights(18, 1, "f32")), 1)).toThrow(
      new RangeError("lowerBound: bounds has rows of 6, expected a multiple of 4"),
    )
  })
})

describe("lowerBound, backward", () => {
  const device = testDevice()

  test.each(shapes)("is the slope of its definition for [%i, %i], bounds in every type", async (L, C) => {
    const dy = uniform(C, 2)
    const output = tensor(device(), [C], dy)
    for (const dtype of WEIGHT_DTYPES) {
      const bounds = weights(L * C, 1, dtype)
      const m = matrix(device(), [L, C], bounds)
      for (const layer of layersOf(L)) {
        const [dbounds] = await gradients(device(), (run) => lowerBound(run, m, layer), output, [m])
        const expected = reference.lowerBoundBackward(bounds.values, C, layer, dy)
        const what = `lowerBound ${dtype} [${L}, ${C}] layer ${layer}, dbounds`
        expectClose(dbounds!, expected, { relative: 1e-5 }, { what }) // the rows counted are far above the mean square
        const f = (bounds: Float64Array) => reference.lowerBound(bounds, C, layer)
        expectSlope(dbounds!, { f, x: bounds.values, dy }, 1e-6, { what })
      }
      free(device(), m)
    }
    free(device(), output)
  })

  test("adds up over the layers, onto what is there", async () => {
    const [L, C] = [5, 12]
    const [bounds, before, dy] = [weights(L * C, 1, "bf16"), weights(L * C, 2, "f32"), uniform(C, 3)]
    const [m, onto] = [matrix(device(), [L, C], bounds), matrix(device(), [L, C], before)]
    const tape = new Tape()
    const run = new Run(device(), tape)
    const rows = [1, 2, 4].map((layer) => view(lowerBound(run, m, layer), [1, C]))
    const y = rows.reduce((sum, row) => add(run, sum, row))
    const [dbounds] = tape.gradients(run, y, tensor(device(), [1, C], dy), [m], [onto])
    expect(dbounds).toBe(onto)
    const [sum] = await readAll(device(), run, [dbounds!])
    const each = [1, 2, 4].map((layer) => reference.lowerBoundBackward(bounds.values, C, layer, dy))
    const expected = before.values.map((value, i) => value + each.reduce((sum, one) => sum + one[i]!, 0))
    expectClose(sum!, expected, { relative: 1e-6 }, { what: "lowerBound dbounds of three layers" })
  })

  test("is the same to the bit every time", async () => {
    const [L, C] = [24, 1024]
    const m = matrix(device(), [L, C], weights(L * C, 1, "f32"))
    const dy = tensor(device(), [C], uniform(C, 2))
    const once = () => gradients(device(), (run) => lowerBound(run, m, 12), dy, [m])
    expect(await once()).toEqual(await once())
  })

  test("refuses gradients of other shapes, and a sum in parts", () => {
    const run = new Run(device())
    const [m, y] = [matrix(device(), [3, 8], weights(24, 1, "f32")), run.empty([8])]
    expect(() => lowerBoundBackward(run, m, 1, { y, dy: run.empty([4]) })).toThrow(
      new RangeError("lowerBoundBackward: dy is [4], expected [8]"),
    )
    const onto = (rows: number, most: number): Matrix => matrix(device(), [rows, 8], weights(rows * 8, 1, "f32"), most)
    expect(() => lowerBoundBackward(run, m, 1, { y, dy: y }, onto(4, 4))).toThrow(
      new RangeError("lowerBoundBackward: onto is [4, 8], expected [3, 8]"),
    )
    expect(() => lowerBoundBackward(run, m, 1, { y, dy: y }, onto(3, 2))).toThrow(
      new RangeError("lowerBoundBackward: onto has 2 parts, expected 1"),
    )
  })
})
