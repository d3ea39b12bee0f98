import { describe, expect, test } from "vitest"
import { linear } from "../../src/kernels/linear.ts"
import { rowNorms } from "../../src/kernels/row_norms.ts"
import { Run } from "../../src/kernels/run.ts"
import { scaleColumns } from "../../src/kernels/scale_columns.ts"
import { row_norms } from "../../src/kernels/shaders.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Matrix } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { readAll } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  random,
  repeat,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  type Weights,
  weights,
} from "../helpers/kernels.ts"
import * as reference from "../reference/row_norms.ts"

const f32 = (values: Float32Array<ArrayBuffer>): Weights => ({ dtype: "f32", stored: values, values })

describe("rowNorms", () => {
  const device = testDevice()

  test.each([
    [1, 4, 4],
    [3, 12, 4],
    [33, 172, 8],
    [257, 260, 12],
    [5, 2560, 64],
    [2048, 640, 16],
    [640, 2048, 8],
  ])("are those of weight + scale * b a for N = %i, C = %i, R = %i, weights in every type", async (N, C, R) => {
    const factors = { a: uniform(R * C, 1), b: uniform(N * R, 2) }
    const [a, b] = [matrix(device(), [R, C], f32(factors.a)), matrix(device(), [N, R], f32(factors.b))]
    const scale = R === 12 ? -0.7 : 2
    for (const dtype of WEIGHT_DTYPES) {
      const weight = weights(N * C, 3, dtype)
      const w = matrix(device(), [N, C], weight)
      const norms = await compute(device(), (run) => rowNorms(run, w, { a, b }, scale))
      const expected = reference.rowNorms(weight.values, factors, C, scale)
      expectClose(norms, expected, { relative: 1e-6 }, { what: `rowNorms ${dtype} [${N}, ${C}] R ${R}` })
      free(device(), w)
    }
    free(device(), a, b)
  })

  test("are those of the weight alone while b is 0, and nothing changes where a rank is filled with zeros", async () => {
    const [N, C, R] = [9, 20, 8]
    const weight = weights(N * C, 1, "bf16")
    const w = matrix(device(), [N, C], weight)
    const a = uniform(R * C, 2)
    const norms = (a: Float32Array<ArrayBuffer>, b: Float32Array<ArrayBuffer>) =>
      compute(device(), (run) => {
        const R = a.length / C
        return rowNorms(run, w, { a: matrix(device(), [R, C], f32(a)), b: matrix(device(), [N, R], f32(b)) }, 3)
      })
    const alone = Float64Array.from({ length: N }, (_, n) => {
      return Math.hypot(...weight.values.subarray(n * C, (n + 1) * C))
    })
    expectClose(await norms(a, new Float32Array(N * R)), alone, { relative: 1e-6 }, { what: "rowNorms b 0" })

    const b = uniform(N * R, 3).map((value, i) => (i % R < 4 ? value : 0)) // a rank of 4
    const filled = a.map((value, i) => (i < 4 * C ? value : 0))
    const packed = Float32Array.from({ length: N * 4 }, (_, i) => b[Math.floor(i / 4) * R + (i % 4)]!)
    expect(await norms(filled, b)).toEqual(await norms(a.slice(0, 4 * C), packed))
  })

  test.each(WEIGHT_DTYPES)("take %s weights and b in parts, whatever the parts of each", async (dtype) => {
    const [N, C, R] = [37, 12, 4]
    const [weight, a, b] = [weights(N * C, 1, dtype), uniform(R * C, 2), uniform(N * R, 3)]
    const expected = reference.rowNorms(weight.values, { a, b }, C, 0.5)
    const one = matrix(device(), [R, C], f32(a))
    for (const [rows, rowsOfB] of [
      [37, 5],
      [5, 37],
      [1, 36],
      [8, 8],
      [8, 5],
      [36, 1],
    ] as const) {
      const [w, p] = [matrix(device(), [N, C], weight, rows), matrix(device(), [N, R], f32(b), rowsOfB)]
      const norms = await compute(device(), (run) => rowNorms(run, w, { a: one, b: p }, 0.5))
      expectClose(norms, expected, { relative: 1e-6 }, { what: `rowNorms ${dtype} parts of ${rows}, ${rowsOfB}` })
      free(device(), w, p)
    }
  })

  test("leave no row out where there are more than one dimension of workgroups has", async () => {
    const [N, C, R, period] = [70_000, 4, 4, 63]
    const [weight, a, b] = [uniform(period * C, 1), uniform(R * C, 2), uniform(period * R, 3)]
    const w = matrix(device(), [N, C], f32(repeat(weight, N * C)))
    const factors = { a: matrix(device(), [R, C], f32(a)), b: matrix(device(), [N, R], f32(repeat(b, N * R))) }
    const norms = await compute(device(), (run) => rowNorms(run, w, factors, 1))
    const block = norms.slice(0, period)
    expectClose(block, reference.rowNorms(weight, { a, b }, C, 1), { relative: 1e-6 }, { what: "rowNorms block" })
    expect(norms).toEqual(repeat(block, N))
  })

  test("ignore workgroups past the last row", async () => {
    const [N, C, R] = [5, 12, 4]
    const [weight, a, b] = [weights(N * C, 1, "f32"), uniform(R * C, 2), uniform(N * R, 3)]
    const norms = await compute(device(), (run) => {
      const norm = tensor(device(), [N + 3], new Float32Array(N + 3).fill(9))
      const [w, one, p] = [tensor(device(), [N, C], weight), tensor(device(), [R, C], a), tensor(device(), [N, R], b)]
      const starts = { first_row: 0, weight_row: 0, b_row: 0 }
      const params = { C4: C / 4, R4: R / 4, ...starts, rows: N, scale: 1 }
      run.dispatch(row_norms, { weight: w, a: one, b: p, norm }, params, [4, 2])
      return norm
    })
    const expected = reference.rowNorms(weight.values, { a, b }, C, 1)
    expectClose(norms.subarray(0, N), expected, { relative: 1e-6 }, { what: "rowNorms rows" })
    expect([...norms.subarray(N)]).toEqual([9, 9, 9])
  })

  test("are right for rows of zeros, of tiny and of large numbers", async () => {
    const [C, R] = [640, 4]
    const sizes = [0, 1e-12, 1e-3, 1, 1e4, 1e15]
    const next = random(5)
    const weight = Float32Array.from({ length: sizes.length * C }, (_, i) => (next() - 0.5) * sizes[Math.floor(i / C)]!)
    const b = Float32Array.from({ length: sizes.length * R }, (_, i) => (next() - 0.5) * sizes[Math.floor(i / R)]!)
    const a = uniform(R * C, 6)
    const w = matrix(device(), [sizes.length, C], f32(weight))
    const factors = { a: matrix(device(), [R, C], f32(a)), b: matrix(device(), [sizes.length, R], f32(b)) }
    const norms = await compute(device(), (run) => rowNorms(run, w, factors, 1))
    const expected = reference.rowNorms(weight, { a, b }, C, 1)
    for (const [row, size] of sizes.entries()) {
      const tolerance = { relative: 1e-6 }
      expectClose([norms[row]!], [expected[row]!], tolerance, { what: `rowNorms of size ${size}` })
    }
  })

  test("let no gradient through", () => {
    const [T, N, C, R] = [2, 8, 12, 4]
    const tape = new Tape()
    const run = new Run(device(), tape)
    const [w, a, b] = [
      [N, C],
      [R, C],
      [N, R],
    ].map(([rows, columns]) => matrix(device(), [rows!, columns!], weights(rows! * columns!, 1, "f32"))) as [
      Matrix,
      Matrix,
      Matrix,
    ]
    const norm = rowNorms(run, w, { a, b }, 1)
    const x = tensor(device(), [T, C], uniform(T * C, 2))
    const y = scaleColumns(run, linear(run, x, w), tensor(device(), [N], uniform(N, 3)), norm)
    const gradients = tape.gradients(run, y, tensor(device(), [T, N], uniform(T * N, 4)), [w, a, b, norm])
    expect(gradients.map((gradient) => gradient !== undefined)).toEqual([true, false, false, false])
  })

  test("equal the magnitudes that they began with, so that DoRA begins with the weight itself", async () => {
    const [T, N, C, R] = [3, 8, 12, 4]
    const x = tensor(device(), [T, C], uniform(T * C, 1))
    const w = matrix(device(), [N, C], weights(N * C, 2, "bf16"))
    const zeros = new Float32Array(N * R)
    const factors = { a: matrix(device(), [R, C], weights(R * C, 3, "f32")), b: matrix(device(), [N, R], f32(zeros)) }
    const run = new Run(device())
    const y = linear(run, x, w)
    const scaled = scaleColumns(run, y, rowNorms(run, w, factors, 1), rowNorms(run, w, factors, 1))
    const [before, after] = await readAll(device(), run, [y, scaled])
    expectClose(after!, before!, { relative: 1e-6 }, { what: "DoRA to begin with" })
  })

  test("refuse factors that do not fit, of another type, or an a in parts", () => {
    const run = new Run(device())
    const w = matrix(device(), [6, 8], weights(48, 1, "bf16"))
    const of = (rows: number, columns: number) => matrix(device(), [rows, columns], weights(rows * columns, 1, "f32"))
    expect(() => rowNorms(run, w, { a: of(4, 12), b: of(6, 4) }, 1)).toThrow(
      new RangeError("rowNorms: a is [4, 12], expected [4, 8]"),
    )
    expect(() => rowNorms(run, w, { a: of(4, 8), b: of(5, 4) }, 1)).toThrow(
      new RangeError("rowNorms: b is [5, 4], expected [6, 4]"),
    )
    expect(() => rowNorms(run, w, { a: of(2, 8), b: of(6, 2) }, 1)).toThrow(
      new RangeError("rowNorms: b has rows of 2, expected a multiple of 4"),
    )
    const parts = matrix(device(), [4, 8], weights(32, 1, "f32"), 2)
    expect(() => rowNorms(run, w, { a: parts, b: of(6, 4) }, 1)).toThrow(
      new RangeError("rowNorms: a has 2 parts, expected 1"),
    )
    const half = matrix(device(), [6, 4], weights(24, 1, "bf16"))
    expect(() => rowNorms(run, w, { a: of(4, 8), b: half }, 1)).toThrow(
      new TypeError("rowNorms: b is bf16, expected f32"),
    )
  })
})
