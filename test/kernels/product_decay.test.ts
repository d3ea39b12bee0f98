import { describe, expect, test } from "vitest"
import { productDecay } from "../../src/kernels/product_decay.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, readAll } from "../helpers/gradients.ts"
import { free, matrix, testDevice, uniform, weights } from "../helpers/kernels.ts"
import * as reference from "../reference/product_decay.ts"

describe("productDecay", () => {
  const device = testDevice()
  const f32 = (values: Float32Array<ArrayBuffer>) => ({ dtype: "f32" as const, stored: values, values })

  test.each([
    [1, 4, 4],
    [7, 4, 12],
    [33, 16, 172],
    [172, 64, 36],
    [640, 32, 256],
  ])("gives the gradients of 1/2 ||u v||^2 for N = %i, R = %i, C = %i", async (N, R, C) => {
    const [u, v] = [uniform(N * R, 1), uniform(R * C, 2)]
    const [left, right] = [matrix(device(), [N, R], f32(u)), matrix(device(), [R, C], f32(v))]
    const run = new Run(device())
    const { du, dv } = productDecay(run, left, right)
    expect([du.shape, dv.shape]).toEqual([
      [N, R],
      [R, C],
    ])
    const [gu, gv] = await readAll(device(), run, [du, dv])
    const expected = reference.productDecay(u, v, [N, R, C])
    expectClose(gu!, expected.du, { relative: 2e-6 }, { what: "productDecay, du" })
    expectClose(gv!, expected.dv, { relative: 4e-6 }, { what: "productDecay, dv" })
    const ofU = { f: (u: Float64Array) => [reference.halfSquare(u, v, [N, R, C])], x: u, dy: [1] }
    const ofV = { f: (v: Float64Array) => [reference.halfSquare(u, v, [N, R, C])], x: v, dy: [1] }
    expectSlope(gu!, ofU, 1e-6, { what: "productDecay, du" })
    expectSlope(gv!, ofV, 1e-6, { what: "productDecay, dv" })
    free(device(), left, right)
  })

  test("leaves what a rank lacks at zero", async () => {
    const [N, R, C, rank] = [5, 8, 12, 6]
    const u = uniform(N * R, 1).map((value, i) => (i % R < rank ? value : 0))
    const v = uniform(R * C, 2).map((value, i) => (i < rank * C ? value : 0))
    const run = new Run(device())
    const { du, dv } = productDecay(run, matrix(device(), [N, R], f32(u)), matrix(device(), [R, C], f32(v)))
    const [gu, gv] = await readAll(device(), run, [du, dv])
    expect(gu!.filter((value, i) => i % R >= rank && value !== 0)).toHaveLength(0)
    expect(gv!.subarray(rank * C).filter((value) => value !== 0)).toHaveLength(0)
    expect(gu!.filter((value) => value !== 0)).toHaveLength(N * rank)
    expect(gv!.filter((value) => value !== 0)).toHaveLength(rank * C)
  })

  test("refuses factors that do not fit, of another type or in parts", () => {
    const run = new Run(device())
    const of = (rows: number, columns: number, most?: number) =>
      matrix(device(), [rows, columns], weights(rows * columns, 1, "f32"), most)
    expect(() => productDecay(run, of(6, 4), of(8, 12))).toThrow(
      new RangeError("productDecay: v is [8, 12], expected [4, 12]"),
    )
    expect(() => productDecay(run, of(6, 6), of(6, 12))).toThrow(
      new RangeError("productDecay: u has rows of 6, expected a multiple of 4"),
    )
    expect(() => productDecay(run, of(6, 4, 3), of(4, 12))).toThrow(
      new RangeError("productDecay: u has 2 parts, expected 1"),
    )
    expect(() => productDecay(run, of(6, 4), of(4, 12, 1))).toThrow(
      new RangeError("productDecay: v has 4 parts, expected 1"),
    )
    const half = matrix(device(), [4, 12], weights(48, 1, "bf16"))
    expect(() => productDecay(run, of(6, 4), half)).toThrow(new TypeError("productDecay: v is bf16, expected f32"))
  })
})
