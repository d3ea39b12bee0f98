import { describe, expect, test } from "vitest"
import { embed } from "../../src/kernels/embed.ts"
import { rmsNorm, rmsNormBackward } from "../../src/kernels/rms_norm.ts"
import { fromGroups, toGroups } from "../../src/kernels/row_groups.ts"
import { rowNorms } from "../../src/kernels/row_norms.ts"
import { Run } from "../../src/kernels/run.ts"
import { byteSize, rowSlice, unbacked, view } from "../../src/kernels/tensor.ts"
import { packBase3, packRow, unpackBase3, unpackRow } from "../../src/kernels/ternary.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, matrix, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { ternaryMatrix, trits } from "../helpers/ternary.ts"
import * as norm from "../reference/rms_norm.ts"
import * as norms from "../reference/row_norms.ts"
import { base3Trit, inFours, ternaryRow } from "../reference/ternary.ts"

const WIDTHS = [1024, 2048, 2560, 2816, 5632, 6912]

describe("packRow and unpackRow", () => {
  test("hold 16 trits in a word and the scale behind the words", () => {
    for (const C of [16, 96, ...WIDTHS]) {
      const row = trits(C, C)
      const words = packRow(row.trits, row.scale)
      expect(words).toEqual(ternaryRow(row.trits, row.scale))
      expect(unpackRow(words)).toEqual({ trits: row.trits, scale: row.scale })
      expect(unpackRow(new Uint32Array([9, ...words]).subarray(1))).toEqual({ trits: row.trits, scale: row.scale })
    }
  })

  test("put column 4 k + b of a word at bits 8 b + 2 k", () => {
    const row = new Int8Array(16).fill(-1)
    row[5] = 1
    row[10] = 0
    expect(packRow(row, 1)[0]).toBe((2 << 10) | (1 << 20))
  })

  test("refuse other widths and what is no trit", () => {
    expect(() => packRow(new Int8Array(20), 1)).toThrow(
      new RangeError("packRow: trits are 20, expected a multiple of 16"),
    )
    expect(() => packRow(new Int8Array(16).fill(2), 1)).toThrow(
      new RangeError("packRow: trit 0 is 2, expected -1, 0 or 1"),
    )
  })
})

describe("packBase3 and unpackBase3", () => {
  const multiples = Array.from({ length: 12 }, (_, i) => 256 * (i + 1))

  test.each([...new Set([...multiples, ...WIDTHS])])("take %i trits there and back, 52 bytes to 256", (C) => {
    const row = trits(C, C).trits
    const bytes = packBase3(row)
    expect(bytes.length).toBe((C / 256) * 52)
    expect(unpackBase3(bytes, C)).toEqual(row)
    const digits = row.map((_, c) => base3Trit(bytes.subarray((c >> 8) * 52, ((c >> 8) + 1) * 52), c % 256))
    expect(digits).toEqual(row)
  })

  test("give these bytes for trits all alike", () => {
    const bytes = (trit: number) => packBase3(new Int8Array(256).fill(trit))
    expect(new Set(bytes(-1))).toEqual(new Set([0]))
    expect([bytes(0)[0], bytes(0)[47], bytes(0)[48]]).toEqual([128, 128, 127]) // 256 * 121 / 243, 256 * 120 / 243
    expect([bytes(1)[0], bytes(1)[47], bytes(1)[48]]).toEqual([255, 255, 253])
  })

  test("put the columns where TQ1_0 has them", () => {
    for (const [column, byte, value] of [
      [0, 0, 86], // 0 is the first digit of byte 0: 256 * 81 / 243
      [31, 31, 86],
      [32, 0, 29],
      [159, 31, 2],
      [160, 32, 86],
      [176, 32, 29],
      [240, 48, 86],
      [244, 48, 29],
      [255, 51, 4],
    ] as const) {
      const row = new Int8Array(256).fill(-1)
      row[column] = 0
      const expected = new Uint8Array(52)
      expected[byte] = value
      expect(packBase3(row)).toEqual(expected)
    }
  })

  test("refuse other lengths and what is no trit", () => {
    expect(() => packBase3(new Int8Array(128))).toThrow(
      new RangeError("packBase3: trits are 128, expected a multiple of 256"),
    )
    expect(() => packBase3(new Int8Array(256).fill(-2))).toThrow(
      new RangeError("packBase3: trit 0 is -2, expected -1, 0 or 1"),
    )
    expect(() => unpackBase3(new Uint8Array(52), 512)).toThrow(
      new RangeError("unpackBase3: bytes are 52, expected 104 for 512 trits"),
    )
  })
})

describe("rows in fours", () => {
  test("have the words of four rows next to one another, and come apart again", () => {
    const rows = Array.from({ length: 6 }, (_, n) => Uint32Array.from({ length: 3 }, (_, j) => 10 * n + j))
    const quads = toGroups("ternary", Uint32Array.from(rows.flatMap((row) => [...row])), 32)
    expect(quads).toEqual(inFours(rows))
    expect([...quads.subarray(0, 8)]).toEqual([0, 10, 20, 30, 1, 11, 21, 31])
    expect([...quads.subarray(12, 16)]).toEqual([40, 50, 0, 0])
    expect(fromGroups("ternary", quads, 32, 6)).toEqual(Uint32Array.from(rows.flatMap((row) => [...row])))
  })
})

describe("tensors of ternary and int8", () => {
  const device = testDevice()

  test("have rows of whole words, what belongs to a row behind its codes", () => {
    expect(byteSize([4, 96], "ternary")).toBe(4 * (6 + 1) * 4)
    expect(byteSize([3, 96], "ternary")).toBe(4 * (6 + 1) * 4)
    expect(byteSize([96], "ternary")).toBe(4 * (6 + 1) * 4)
    expect(byteSize([3, 12], "int8")).toBe(3 * (3 + 4) * 4)
    expect(() => byteSize([3, 24], "ternary")).toThrow(
      new RangeError("ternary [3, 24]: rows are of 24, expected a multiple of 16"),
    )
    expect(() => byteSize([3, 6], "int8")).toThrow(
      new RangeError("int8 [3, 6]: rows are of 6, expected a multiple of 4"),
    )
  })

  test("are cut between rows, and refuse to be seen in rows of another width", () => {
    const x = unbacked([130, 96], "ternary")
    expect(rowSlice(x, 64, 130)).toMatchObject({ shape: [66, 96], byteOffset: 64 * 28 })
    expect(() => rowSlice(x, 32, 130)).toThrow(
      new RangeError("rowSlice: row 32 begins at byte 896, expected a multiple of 256"),
    )
    expect(() => rowSlice(x, 66, 130)).toThrow(
      new RangeError("rowSlice: ternary rows begin at 66, expected a multiple of 4"),
    )
    expect(view(unbacked([4, 8], "int8"), [2, 2, 8]).shape).toEqual([2, 2, 8])
    expect(() => view(unbacked([4, 8], "int8"), [2, 16])).toThrow(
      new RangeError("view: int8 shape is [2, 16], expected rows as in [4, 8]"),
    )
  })

  test("are split where the largest binding asks for it", () => {
    const rows = Math.floor(device().maxBinding / (16 * 4 + 4) / 4) * 4
    expect(device().split([rows + 1, 256], "ternary")).toEqual([
      { firstRow: 0, rows },
      { firstRow: rows, rows: 1 },
    ])
  })
})

describe("kernels that take weights of any type", () => {
  const device = testDevice()

  test("gather ternary rows", async () => {
    const [V, C] = [37, 96]
    const table = trits(V * C, 1)
    const list = Uint32Array.of(36, 0, 7, 7, 8)
    const ids = tensor(device(), [list.length], list)
    for (const most of [V, 8]) {
      const x = await compute(device(), (run) => embed(run, ids, ternaryMatrix(device(), [V, C], table, most), 1))
      expect([...x]).toEqual([...list].flatMap((id) => [...table.values.subarray(id * C, (id + 1) * C)]))
    }
  })

  test("multiply by a ternary weight of a norm", async () => {
    const [T, C] = [5, 96]
    const [x, dy, weight] = [uniform(T * C, 1, 3), uniform(T * C, 2), trits(C, 3)]
    const w = device().tensor("weights", [C], "ternary")
    device().write(w, inFours([ternaryRow(weight.trits, weight.scale)]))
    const [input, d] = [tensor(device(), [T, C], x), tensor(device(), [T, C], dy)]
    const options = { eps: 1e-6, offset: 1 }
    const y = await compute(device(), (run) => rmsNorm(run, input, w, options))
    expectClose(y, norm.rmsNorm(x, weight.values, options), { relative: 1e-6 }, { what: "rmsNorm ternary" })
    const dx = await compute(device(), (run) => rmsNormBackward(run, input, w, d, options).dx)
    const expected = norm.rmsNormBackward(x, weight.values, dy, options)
    expectClose(dx, expected.dx, { relative: 2e-6 }, { what: "rmsNorm ternary, dx" })
  })

  test.each([37, 8])("measure ternary rows, in parts of %i", async (most) => {
    const [N, C, R] = [37, 96, 4]
    const weight = trits(N * C, 1)
    const [a, b] = [uniform(R * C, 2, 0.1), uniform(N * R, 3, 0.1)]
    const f32 = (values: Float32Array<ArrayBuffer>) => ({ dtype: "f32" as const, stored: values, values })
    const factors = { a: matrix(device(), [R, C], f32(a)), b: matrix(device(), [N, R], f32(b)) }
    const w = ternaryMatrix(device(), [N, C], weight, most)
    const y = await compute(device(), (run) => rowNorms(run, w, factors, 0.5))
    const expected = norms.rowNorms(weight.values, { a, b }, C, 0.5)
    expectClose(y, expected, { relative: 1e-6 }, { what: "rowNorms ternary" })
  })

  test("refuse int8 weights by name", () => {
    const run = new Run(device())
    expect(() => rmsNorm(run, run.empty([2, 8]), run.empty([8], "int8"), { eps: 1e-6, offset: 0 })).toThrow(
      new TypeError("rms_norm: weight is int8, expected a type with a wgsl/lib/weight_*.wgsl"),
    )
  })
})
