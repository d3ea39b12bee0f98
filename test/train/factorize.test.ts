import { describe, expect, test } from "vitest"
import { symmetricEigen, truncatedSvd } from "../../src/train/decompose.ts"
import { factorize, isSmaller, rankForEnergy, singularValues } from "../../src/train/factorize.ts"
import { Random } from "../../src/train/random.ts"
import { expectClose } from "../helpers/compare.ts"
import { frobenius, outputError, secondMoment, weightError } from "../reference/factorize.ts"
import { orthogonalityError, product, transpose } from "../reference/low_rank.ts"

const normal = (length: number, seed: number) => {
  const random = new Random(seed)
  return Float64Array.from({ length }, () => random.normal())
}

/** Weights whose columns matter less and less, so that ranks have something to choose from. */
function decaying([rows, columns]: readonly [number, number], seed = 1): Float64Array {
  return normal(rows * columns, seed).map((value, i) => value / (1 + (i % columns)) ** 0.6)
}

/** Inputs that lie mostly in a few directions, each column at a scale of its own. */
function correlated([tokens, width]: readonly [number, number], seed = 2): Float64Array {
  const few = product(normal(tokens * 6, seed), normal(6 * width, seed + 1), [tokens, 6, width])
  const own = normal(tokens * width, seed + 2)
  return few.map((value, i) => (value + 0.3 * own[i]!) * (1 + (i % width) / 8))
}

describe("symmetricEigen", () => {
  const symmetric = (n: number, seed: number) => {
    const x = normal(n * n, seed)
    return x.map((value, i) => value + x[(i % n) * n + Math.floor(i / n)]!)
  }

  test.each<[string, number, Float64Array]>([
    ["a random matrix", 37, symmetric(37, 3)],
    ["a larger one", 150, symmetric(150, 4)],
    ["one by one", 1, Float64Array.of(-3)],
    ["two by two", 2, Float64Array.of(1, 2, 2, -1)],
    ["zeros", 5, new Float64Array(25)],
    ["a diagonal matrix with equal values", 4, Float64Array.from({ length: 16 }, (_, i) => (i % 5 === 0 ? 2 : 0))],
    ["one of rank 1", 30, product(normal(30, 5), normal(30, 5), [30, 1, 30])],
    ["blocks that do not touch", 4, Float64Array.of(1, 2, 0, 0, 2, 1, 0, 0, 0, 0, 1, 2, 0, 0, 2, 1)],
    ["very small numbers", 20, symmetric(20, 6).map((value) => value * 1e-100)],
  ])("gives values in order and orthonormal vectors of %s", (_, n, matrix) => {
    const { values, vectors } = symmetricEigen(matrix, n, n)
    const columns = transpose(vectors, [n, n])
    expect(orthogonalityError(columns, [n, n])).toBeLessThan(1e-12)
    expect(values.every((value, k) => k === 0 || value <= values[k - 1]!)).toBe(true)
    const scaled = columns.map((value, i) => value * values[i % n]!)
    const tolerance = { absolute: 1e-13 * frobenius(matrix) }
    expectClose(product(matrix, columns, [n, n, n]), scaled, tolerance, { what: "A x" })
    expectClose(symmetricEigen(matrix, n).values, values, tolerance, { what: "values alone" })
    expectClose(symmetricEigen(matrix, n, 1).vectors, vectors.subarray(0, n), { absolute: 0 }, { what: "the first" })
  })

  test("refuses what is not finite", () => {
    expect(() => symmetricEigen(Float64Array.of(1, Number.NaN, 2, 3), 2)).toThrow("matrix has NaN in it")
  })

  test("decomposes a model's width, 640, in seconds at most", () => {
    const start = performance.now()
    symmetricEigen(symmetric(640, 7), 640, 160)
    expect(performance.now() - start).toBeLessThan(10_000)
  })
})

describe("factorize", () => {
  const shapes: [number, number][] = [
    [48, 32],
    [32, 48],
    [40, 40],
    [4, 64],
    [64, 4],
  ]

  test.each(shapes)("reproduces [%i, %i] at full rank to 1e-6, with a moment too", (rows, columns) => {
    const rank = Math.min(rows, columns)
    const weight = Float32Array.from(decaying([rows, columns]))
    const inputs = correlated([3 * columns, columns])
    for (const moment of [undefined, secondMoment(inputs, [3 * columns, columns])]) {
      const { u, v, error, energy, outputError } = factorize(weight, [rows, columns], { rank }, moment)
      expectClose(product(u, v, [rows, rank, columns]), weight, { relative: 1e-6 }, { what: "u v" })
      expect(error).toBeLessThan(1e-6)
      expect(energy).toBeCloseTo(1, 12)
      expect(outputError === undefined ? 0 : outputError).toBeLessThan(1e-6)
    }
  })

  test.each(shapes.slice(0, 3))("is the leading part of [%i, %i], each product shared out evenly", (rows, columns) => {
    const weight = decaying([rows, columns])
    const rank = 8
    const { u, v, error, energy } = factorize(weight, [rows, columns], { rank })
    const svd = truncatedSvd(weight, [rows, columns], rank)
    const scaled = svd.u.map((value, i) => value * svd.s[i % rank]!)
    const leading = product(scaled, transpose(svd.v, [columns, rank]), [rows, rank, columns])
    expectClose(product(u, v, [rows, rank, columns]), leading, { relative: 1e-9 }, { what: "u v" })
    const diagonal = Float64Array.from({ length: rank * rank }, (_, i) => (i % (rank + 1) === 0 ? svd.s[i % rank]! : 0))
    const [uu, vv] = [
      product(transpose(u, [rows, rank]), u, [rank, rows, rank]),
      product(v, transpose(v, [rank, columns]), [rank, columns, rank]),
    ]
    expectClose(uu, diagonal, { relative: 1e-9 }, { what: "u^T u" })
    expectClose(vv, diagonal, { relative: 1e-9 }, { what: "v v^T" })
    expect(error).toBeCloseTo(weightError(weight, u, v, [rows, rank, columns]), 12)
    expect(energy).toBeCloseTo(1 - error ** 2, 12)
  })

  test.each(shapes.slice(0, 3))("loses less of [%i, %i] with each rank", (rows, columns) => {
    const weight = decaying([rows, columns])
    const moment = secondMoment(correlated([200, columns]), [200, columns])
    const ranks = [1, 2, 4, 8, 16, 24, 31]
    const plain = ranks.map((rank) => factorize(weight, [rows, columns], { rank }).error)
    const outputs = ranks.map((rank) => factorize(weight, [rows, columns], { rank }, moment).outputError!)
    for (const errors of [plain, outputs]) {
      expect(errors.every((error, k) => k === 0 || error < errors[k - 1]!)).toBe(true)
    }
  })

  test.each(shapes.slice(0, 3))(
    "with a moment keeps more of [%i, %i]'s outputs and less of itself",
    (rows, columns) => {
      const [rank, tokens] = [8, 300]
      const weight = decaying([rows, columns])
      const inputs = correlated([tokens, columns])
      const moment = secondMoment(inputs, [tokens, columns])
      const plain = factorize(weight, [rows, columns], { rank })
      const weighted = factorize(weight, [rows, columns], { rank }, moment)
      const onInputs = (factors: { u: Float64Array; v: Float64Array }) =>
        outputError(inputs, weight, factors.u, factors.v, [tokens, rows, rank, columns])
      expect(weighted.outputError).toBeCloseTo(onInputs(weighted), 9)
      expect(weighted.error).toBeCloseTo(weightError(weight, weighted.u, weighted.v, [rows, rank, columns]), 12)
      expect(onInputs(weighted)).toBeLessThan(0.9 * onInputs(plain))
      expect(plain.error).toBeLessThan(0.9 * weighted.error)
      expect(plain.outputError).toBeUndefined()
    },
  )

  test("with fewer inputs than columns gives finite factors that fit them", () => {
    const [rows, columns, tokens, rank] = [40, 32, 8, 8]
    const weight = decaying([rows, columns])
    const inputs = normal(tokens * columns, 9)
    const { u, v } = factorize(weight, [rows, columns], { rank }, secondMoment(inputs, [tokens, columns]))
    expect(outputError(inputs, weight, u, v, [tokens, rows, rank, columns])).toBeLessThan(1e-4)
  })

  test("takes a moment that was rounded to float32", () => {
    const [rows, columns, tokens, rank] = [40, 32, 8, 8]
    const weight = decaying([rows, columns])
    const inputs = normal(tokens * columns, 9).map((value, i) => (i % columns === 3 ? 300 * value : value))
    const rounded = Float64Array.from(new Float32Array(secondMoment(inputs, [tokens, columns])))
    const { u, v } = factorize(weight, [rows, columns], { rank }, rounded)
    expect(outputError(inputs, weight, u, v, [tokens, rows, rank, columns])).toBeLessThan(1e-2)
  })

  test("gives zeros for zeros", () => {
    const { u, v, error, energy } = factorize(new Float64Array(8 * 12), [8, 12], { rank: 4 })
    expect([frobenius(u), frobenius(v), error, energy]).toEqual([0, 0, 0, 1])
  })

  test("refuses wrong lengths, ranks, values and moments", () => {
    const weight = decaying([6, 8])
    const fail = (rank: number, moment?: Float64Array) => () => factorize(weight, [6, 8], { rank }, moment)
    expect(() => factorize(weight, [6, 7], { rank: 4 })).toThrow("factorize: length is 48, expected rows * columns")
    for (const rank of [0, 7, 1.5])
      expect(fail(rank)).toThrow(`factorize: rank is ${rank}, expected an integer of 1 to 6`)
    expect(fail(4, new Float64Array(63))).toThrow("factorize: moment: length is 63")
    expect(fail(4, new Float64Array(64))).toThrow("moment of trace 0 is indefinite, expected X^T X / n")
    expect(() => factorize(weight.fill(Number.NaN, 3, 4), [6, 8], { rank: 4 })).toThrow("weight[3] is NaN")
  })
})

describe("singularValues and rankForEnergy", () => {
  test("give the values of a decomposition, for both shapes", () => {
    for (const shape of [
      [30, 20],
      [20, 30],
    ] as const) {
      const weight = decaying(shape)
      expectClose(singularValues(weight, shape), truncatedSvd(weight, shape, 20).s, { absolute: 1e-10 }, { what: "s" })
    }
  })

  test("give with a moment those of the outputs: their squares add up to the mean square output", () => {
    const [rows, columns, tokens] = [24, 16, 100]
    const weight = decaying([rows, columns])
    const inputs = correlated([tokens, columns])
    const s = singularValues(weight, [rows, columns], secondMoment(inputs, [tokens, columns]))
    const outputs = product(inputs, transpose(weight, [rows, columns]), [tokens, columns, rows])
    const meanSquare = frobenius(outputs) ** 2 / tokens
    expect(Math.abs(frobenius(s) ** 2 / meanSquare - 1)).toBeLessThan(1e-4)
  })

  test.each([0.3, 0.5, 0.8, 0.95, 0.999])("pick the least multiple of 4 that keeps %f", (energy) => {
    const shape = [60, 40] as const
    const weight = decaying(shape)
    const rank = rankForEnergy(singularValues(weight, shape), energy)
    expect(rank % 4).toBe(0)
    expect(factorize(weight, shape, { rank }).energy).toBeGreaterThanOrEqual(energy)
    if (rank > 4) expect(factorize(weight, shape, { rank: rank - 4 }).energy).toBeLessThan(energy)
  })

  test("count squares", () => {
    expect(rankForEnergy([4, 2, 2, 1, 0], 0.96)).toBe(4) // 16 + 4 + 4 of 25
    expect(rankForEnergy([4, 2, 2, 1, 0], 1)).toBe(4)
    expect(rankForEnergy([1, 1, 1, 1, 1], 1)).toBe(8)
    expect(rankForEnergy([1, 1, 1, 1, 1], 0.8)).toBe(4)
    for (const energy of [0, 1.1, Number.NaN]) {
      expect(() => rankForEnergy([1], energy)).toThrow(`rankForEnergy: energy is ${energy}, expected one of (0, 1]`)
    }
  })

  test("isSmaller compares the numbers that are stored", () => {
    expect([isSmaller(19, [48, 32]), isSmaller(20, [48, 32])]).toEqual([true, false]) // 48 * 32 / 80 = 19.2
    expect(isSmaller(16, [32, 32])).toBe(false)
  })
})
