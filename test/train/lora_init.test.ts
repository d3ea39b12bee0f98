import { describe, expect, test } from "vitest"
import { truncatedSvd } from "../../src/train/decompose.ts"
import { type LoraInit, type LoraInitOptions, loraFactors, plainLora } from "../../src/train/lora_init.ts"
import { Random, seedFor } from "../../src/train/random.ts"
import { expectClose } from "../helpers/compare.ts"
import { largest, orthogonalityError, plus, product, transpose } from "../reference/low_rank.ts"

const [out, width, rank] = [48, 30, 6]
const random = new Random(11)
const weight = Float64Array.from({ length: out * width }, () => random.normal())
const options: LoraInitOptions = { shape: [out, width], rank, scale: 1.75, seed: 4, weight }
const ba = ({ a, b }: { a: Float64Array; b: Float64Array }, r = rank) => product(b, a, [out, r, width])
const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length
const meanSquare = (values: Float64Array) => mean(values.map((value) => value ** 2))

describe("Random", () => {
  test("gives the numbers of sfc32", () => {
    // PractRand's recurrence in exact integers.
    const word = (value: bigint) => value & 0xffffffffn
    let [a, b, c, counter] = [0n, 5n, 0n, 1n]
    const next = () => {
      const result = word(a + b + counter)
      counter = word(counter + 1n)
      a = b ^ (b >> 9n)
      b = word(c + (c << 3n))
      c = word(word((c << 21n) | (c >> 11n)) + result)
      return Number(result)
    }
    for (let i = 0; i < 16; i++) next()
    const stream = new Random(5)
    for (let i = 0; i < 100; i++) expect(stream.bits()).toBe(next())
  })

  test("goes on from its state, through JSON", () => {
    const stream = new Random(2 ** 40 + 3)
    for (let i = 0; i < 5; i++) stream.normal()
    const copy = new Random(JSON.parse(JSON.stringify(stream.state)))
    for (let i = 0; i < 5; i++) expect(copy.normal()).toBe(stream.normal())
  })

  test("differs from seed to seed, above 32 bits too", () => {
    const firsts = [0, 1, 2, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1].map((seed) => new Random(seed).uniform())
    expect(new Set(firsts).size).toBe(6)
    const seeds = ["a", "b", "aa", ""].flatMap((name) => [seedFor(0, name), seedFor(1, name)])
    expect(new Set(seeds).size).toBe(8)
  })

  test("is uniform in [0, 1) and normal", () => {
    const stream = new Random(1)
    const uniform = Float64Array.from({ length: 40_000 }, () => stream.uniform())
    expect(uniform.every((value) => value >= 0 && value < 1)).toBe(true)
    expect(mean(uniform)).toBeCloseTo(1 / 2, 2)
    expect(meanSquare(uniform)).toBeCloseTo(1 / 3, 2)
    const normal = Float64Array.from({ length: 40_000 }, () => stream.normal())
    expect(Math.abs(mean(normal))).toBeLessThan(0.02)
    expect(Math.abs(meanSquare(normal) - 1)).toBeLessThan(0.03)
    expect(Math.abs(mean(normal.map((value) => value ** 4)) - 3)).toBeLessThan(0.2)
  })

  test("refuses other seeds and states", () => {
    for (const seed of [-1, 0.5, Number.NaN, 2 ** 53]) expect(() => new Random(seed)).toThrow(`seed is ${seed}`)
    for (const state of [
      [1, 2, 3],
      [1, 2, 3, -1],
      [1, 2, 3, 2 ** 32],
      [1, 2, 3, "4"],
    ]) {
      expect(() => new Random(state as never)).toThrow("expected four unsigned 32-bit integers")
    }
  })
})

describe("loraFactors", () => {
  test("default: A is uniform in ±1/sqrt(in), B is zero and the base gives up nothing", () => {
    const { a, b, base } = loraFactors("default", { ...options, shape: [8, 400], rank: 16 })
    expect(a.length).toBe(16 * 400)
    expect(b).toEqual(new Float64Array(8 * 16))
    expect(base).toBeUndefined()
    expect(largest(a)).toBeLessThanOrEqual(1 / 20)
    expect(largest(a)).toBeGreaterThan(0.99 / 20)
    expect(meanSquare(a)).toBeCloseTo(1 / 400 / 3, 4)
  })

  test("gaussian: A has variance 1/rank", () => {
    const { a, b } = loraFactors("gaussian", { ...options, shape: [8, 2000], rank: 16 })
    expect(Math.abs(meanSquare(a) * 16 - 1)).toBeLessThan(0.03)
    expect(largest(b)).toBe(0)
  })

  test.each<LoraInit>(["pissa", "olora"])("%s: base and factors together are the weight to 1e-12", (init) => {
    const { a, b, base } = loraFactors(init, options)
    expect(base).toEqual({ a, b })
    const kept = plus(weight, ba(base!), -options.scale)
    expectClose(plus(kept, ba({ a, b }), options.scale), weight, { absolute: 1e-12 }, { what: "W" })
  })

  test("pissa: scale B A is the leading part of W, shared out evenly, and the rest's largest value is the next one", () => {
    const { a, b } = loraFactors("pissa", options)
    const { s } = truncatedSvd(weight, [out, width], rank + 1)
    const squares = s.slice(0, rank).map((value) => value / options.scale)
    const diagonal = Float64Array.from({ length: rank * rank }, (_, i) =>
      i % (rank + 1) === 0 ? squares[i / (rank + 1)]! : 0,
    )
    expectClose(
      product(a, transpose(a, [rank, width]), [rank, width, rank]),
      diagonal,
      { absolute: 1e-12 },
      { what: "A A^T" },
    )
    expectClose(
      product(transpose(b, [out, rank]), b, [rank, out, rank]),
      diagonal,
      { absolute: 1e-12 },
      { what: "B^T B" },
    )
    const rest = plus(weight, ba({ a, b }), -options.scale)
    expect(truncatedSvd(rest, [out, width], 1).s[0]).toBeCloseTo(s[rank]!, 11)
  })

  test("olora: B is orthonormal, A upper triangular, and the base's first columns are its own to 1 - scale", () => {
    const { a, b } = loraFactors("olora", options)
    expect(orthogonalityError(b, [out, rank])).toBeLessThan(1e-12)
    for (let k = 0; k < rank; k++) for (let j = 0; j < k; j++) expect(Math.abs(a[k * width + j]!)).toBeLessThan(1e-12)
    const first = (x: Float64Array) => x.filter((_, i) => i % width < rank)
    expectClose(first(ba({ a, b })), first(weight), { absolute: 1e-12 }, { what: "Q_r R_r" })
  })

  test("gives the same numbers for the same seed and others for another", () => {
    for (const init of ["default", "gaussian", "pissa", "olora"] as const) {
      expect(loraFactors(init, options)).toEqual(loraFactors(init, options))
    }
    expect(loraFactors("default", { ...options, seed: 5 }).a).not.toEqual(loraFactors("default", options).a)
  })

  test("takes any rank where nothing is decomposed", () => {
    expect(loraFactors("default", { ...options, rank: 64 }).a.length).toBe(64 * width)
  })

  test("refuses wrong ranks and scales, and a start without the weight that it needs", () => {
    expect(() => loraFactors("pissa", { ...options, rank: 31 })).toThrow("rank is 31, expected an integer of 1 to 30")
    expect(() => loraFactors("default", { ...options, rank: 0 })).toThrow("loraFactors: rank is 0")
    expect(() => loraFactors("default", { ...options, scale: 0 })).toThrow("loraFactors: scale is 0")
    for (const init of ["pissa", "olora"] as const) {
      expect(() => loraFactors(init, { ...options, weight: undefined })).toThrow(TypeError)
    }
  })
})

describe("plainLora", () => {
  const { a, b, base } = loraFactors("pissa", options)
  const trained = { a: a.map((value) => value + random.normal() / 9), b: b.map((value) => value + random.normal() / 9) }

  test.each([false, true])(
    "is the trained change on the untouched base to 1e-12, at the same scale (rsLoRA: %s)",
    (useRslora) => {
      const alpha = options.scale * (useRslora ? Math.sqrt(rank) : rank)
      const plain = plainLora(trained, base!, { rank, alpha, useRslora })
      expect(plain.rank).toBe(12)
      const scale = plain.alpha / (useRslora ? Math.sqrt(plain.rank) : plain.rank)
      expect(scale).toBeCloseTo(options.scale, 14)
      const change = plus(weight, ba(plain, 12), scale)
      const expected = plus(plus(weight, ba(base!), -options.scale), ba(trained), options.scale)
      expectClose(change, expected, { absolute: 1e-12 }, { what: "W" })
    },
  )

  test("is no change at all before the first step", () => {
    expect(largest(ba(plainLora({ a, b }, base!, { rank, alpha: rank }), 12))).toBeLessThan(1e-14)
  })

  test("refuses pairs of different sizes", () => {
    const fail = () => plainLora({ a: a.slice(1), b }, base!, { rank, alpha: 8 })
    expect(fail).toThrow("plainLora: lengths are 179, 288, 180, 288, expected two pairs alike of rank 6")
  })
})
