import { describe, expect, test } from "vitest"
import { truncatedSvd } from "../../src/train/decompose.ts"
import { Random } from "../../src/train/random.ts"
import { expectClose } from "../helpers/compare.ts"
import { largest, orthogonalityError, plus, product, transpose } from "../reference/low_rank.ts"

/** Orthonormal columns by Gram and Schmidt, twice for the rounding. */
function orthonormal(rows: number, columns: number, random: Random): Float64Array {
  const q = Float64Array.from({ length: rows * columns }, () => random.normal())
  for (let k = 0; k < columns; k++) {
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < k; j++) {
        let dot = 0
        for (let i = 0; i < rows; i++) dot += q[i * columns + j]! * q[i * columns + k]!
        for (let i = 0; i < rows; i++) q[i * columns + k]! -= dot * q[i * columns + j]!
      }
    }
    let squares = 0
    for (let i = 0; i < rows; i++) squares += q[i * columns + k]! ** 2
    for (let i = 0; i < rows; i++) q[i * columns + k]! /= Math.sqrt(squares)
  }
  return q
}

/** A matrix whose singular values are known, so that nothing has to be decomposed to check a decomposition. */
function withSpectrum(rows: number, columns: number, values: readonly number[], seed = 1): Float64Array {
  const random = new Random(seed)
  const u = orthonormal(rows, values.length, random).map((value, i) => value * values[i % values.length]!)
  const v = orthonormal(columns, values.length, random)
  return product(u, transpose(v, [columns, values.length]), [rows, values.length, columns])
}

const spectrum = (length: number, at: (k: number) => number) => Array.from({ length }, (_, k) => at(k))

/** Checks what makes triples singular: both sides orthonormal, and W v = s u, W^T u = s v. */
function expectTriples(weight: Float64Array, [rows, columns]: [number, number], rank: number, tolerance: number) {
  const { u, s, v } = truncatedSvd(weight, [rows, columns], rank)
  expect(orthogonalityError(u, [rows, rank])).toBeLessThan(1e-12)
  expect(orthogonalityError(v, [columns, rank])).toBeLessThan(1e-12)
  const us = u.map((value, i) => value * s[i % rank]!)
  const vs = v.map((value, i) => value * s[i % rank]!)
  const relative = { absolute: tolerance * s[0]! }
  expectClose(product(weight, v, [rows, columns, rank]), us, relative, { what: "W v" })
  expectClose(product(transpose(weight, [rows, columns]), u, [columns, rows, rank]), vs, relative, { what: "W^T u" })
  return { u, s, v }
}

describe("truncatedSvd", () => {
  test.each<[string, [number, number], number, number[]]>([
    ["a small matrix", [40, 24], 5, spectrum(24, (k) => 24 - k)],
    ["a wide one", [24, 40], 5, spectrum(24, (k) => 2 ** -k)],
    ["one row", [1, 17], 1, [3]],
    ["one column", [17, 1], 1, [0.5]],
    ["all of a matrix", [30, 20], 20, spectrum(20, (k) => 1 + 1 / (k + 1))],
    ["the start of a slow decay", [300, 210], 8, spectrum(210, (k) => 1 / (1 + k) ** 0.5)],
    ["the start of a fast decay, wide and ragged", [203, 321], 12, spectrum(203, (k) => Math.exp(-k))],
    ["a nearly flat one", [300, 210], 8, spectrum(210, (k) => 1 - k / 2000)],
    ["a value behind a large step", [210, 200], 3, spectrum(200, (k) => (k === 0 ? 1e3 : 1 + 1 / (k + 1)))],
    ["equal values that go on past the rank", [260, 200], 4, spectrum(200, (k) => (k < 9 ? 2 : 1))],
  ])("gives the known values of %s", (_, [rows, columns], rank, values) => {
    const weight = withSpectrum(rows, columns, values)
    const { s } = expectTriples(weight, [rows, columns], rank, 1e-6)
    for (let k = 0; k < rank; k++)
      expect(Math.abs(s[k]! / values[k]! - 1)).toBeLessThan(1e-9 + 1e-15 * (values[0]! / values[k]!))
  })

  test("gives the vectors too, up to the sign, where the values differ", () => {
    const [rows, columns, rank] = [256, 192, 4]
    const values = spectrum(columns, (k) => 1.5 ** -k)
    const random = new Random(1)
    const left = orthonormal(rows, columns, random)
    const right = orthonormal(columns, columns, random)
    const { u, v } = truncatedSvd(withSpectrum(rows, columns, values), [rows, columns], rank)
    for (let k = 0; k < rank; k++) {
      const column = (x: Float64Array, width: number) => x.filter((_, i) => i % width === k)
      const [ours, known] = [column(v, rank), column(right, columns)]
      const sign = Math.sign(ours[0]! * known[0]!)
      expectClose(
        ours,
        known.map((value) => value * sign),
        { absolute: 1e-10 },
        { what: `v ${k}` },
      )
      expectClose(
        column(u, rank),
        column(left, columns).map((value) => value * sign),
        { absolute: 1e-10 },
        { what: `u ${k}` },
      )
    }
  })

  test("gives zeros where the matrix has fewer singular values, and orthonormal vectors all the same", () => {
    for (const [rows, columns] of [
      [40, 30],
      [220, 200],
    ] as [number, number][]) {
      const { s } = expectTriples(withSpectrum(rows, columns, [3, 2, 1]), [rows, columns], 6, 1e-13)
      expectClose(s, [3, 2, 1, 0, 0, 0], { absolute: 1e-13 }, { what: "s" })
      const zero = truncatedSvd(new Float64Array(rows * columns), [rows, columns], 2)
      expect([...zero.s]).toEqual([0, 0])
      expect(orthogonalityError(zero.u, [rows, 2])).toBeLessThan(1e-12)
      expect(orthogonalityError(zero.v, [columns, 2])).toBeLessThan(1e-12)
    }
  })

  test("leaves a rest whose largest singular value is the next one", () => {
    const [rows, columns, rank] = [220, 180, 6]
    const values = spectrum(columns, (k) => 0.9 ** k)
    const weight = withSpectrum(rows, columns, values)
    const { u, s, v } = truncatedSvd(weight, [rows, columns], rank)
    const us = u.map((value, i) => value * s[i % rank]!)
    const rest = plus(weight, product(us, transpose(v, [columns, rank]), [rows, rank, columns]), -1)
    expect(truncatedSvd(rest, [rows, columns], 1).s[0]).toBeCloseTo(values[rank]!, 9)
  })

  test("is the same for the same matrix, of float32 or float64, and has signs that no seed decides", () => {
    const weight = Float32Array.from(
      withSpectrum(
        220,
        180,
        spectrum(180, (k) => 0.8 ** k),
      ),
    )
    const first = truncatedSvd(weight, [220, 180], 5)
    expect(truncatedSvd(Float64Array.from(weight), [220, 180], 5)).toEqual(first)
    const other = truncatedSvd(weight, [220, 180], 5, { seed: 7 })
    expectClose(other.v, first.v, { absolute: 1e-8 }, { what: "v" })
    for (let k = 0; k < 5; k++) {
      const column = [...first.v].filter((_, i) => i % 5 === k)
      expect(Math.max(...column)).toBe(largest(column))
    }
  })

  test("takes a model's matrix, 2048 x 640 at rank 16, in seconds at most", () => {
    const random = new Random(3)
    const weight = Float32Array.from({ length: 2048 * 640 }, (_, i) => random.normal() / (1 + (i % 640)))
    const start = performance.now()
    const { s } = truncatedSvd(weight, [2048, 640], 16)
    expect(performance.now() - start).toBeLessThan(10_000)
    expect(s.every((value, k) => k === 0 || value < s[k - 1]!)).toBe(true)
  })

  test("refuses wrong lengths, ranks and values", () => {
    const weight = new Float64Array(6)
    expect(() => truncatedSvd(weight, [2, 4], 1)).toThrow("length is 6, expected rows * columns = 2 * 4")
    for (const rank of [0, 3, 1.5, Number.NaN]) {
      expect(() => truncatedSvd(weight, [2, 3], rank)).toThrow(`rank is ${rank}, expected an integer of 1 to 2`)
    }
    weight[4] = Number.NaN
    expect(() => truncatedSvd(weight, [2, 3], 1)).toThrow("weight[4] is NaN, expected a finite number")
  })
})
