import { describe, expect, test } from "vitest"
import { linearModules } from "../../src/model/peft_targets.ts"
import { truncatedSvd } from "../../src/train/decompose.ts"
import {
  allocateRanks,
  averageUpdates,
  frozenColumns,
  type LamdaFactors,
  type LamdaInitOptions,
  lamdaFactors,
  lamdaToLora,
  loraParameters,
} from "../../src/train/lamda.ts"
import { Random } from "../../src/train/random.ts"
import { expectClose } from "../helpers/compare.ts"
import { gemma3Sizes } from "../model/gemma3_sizes.ts"
import { largest, orthogonalityError, plus, product, transpose } from "../reference/low_rank.ts"

const [out, width, rank] = [40, 56, 5]
const random = new Random(21)
const weight = Float64Array.from({ length: out * width }, () => random.normal())
const options: LamdaInitOptions = { shape: [out, width], rank, scale: 1.6, seed: 2, weight }

/** `W + scale * B S A - anchor A` */
function effective({ a, s, b, anchor }: LamdaFactors): Float64Array {
  const bs = product(b, s, [out, rank, rank])
  const inner = anchor
    ? plus(
        bs.map((value) => options.scale * value),
        anchor,
        -1,
      )
    : bs.map((value) => options.scale * value)
  return plus(weight, product(inner, a, [out, rank, width]))
}

describe("lamdaFactors", () => {
  test("svd-sigma: starts from the weight to 1e-12, its base without the leading triples", () => {
    const factors = lamdaFactors("svd-sigma", options)
    expectClose(effective(factors), weight, { absolute: 1e-12 }, { what: "W" })
    const base = plus(weight, product(factors.anchor!, factors.a, [out, rank, width]), -1)
    const { s } = truncatedSvd(weight, [out, width], rank + 1)
    expect(truncatedSvd(base, [out, width], 1).s[0]).toBeCloseTo(s[rank]!, 11)
    for (let k = 0; k < rank; k++) expect(factors.s[k * rank + k]).toBe(s[k]! / options.scale)
  })

  test.each(["svd-sigma", "svd-zero"] as const)("%s: A and B are orthonormal", (init) => {
    const { a, b } = lamdaFactors(init, options)
    expect(orthogonalityError(transpose(a, [rank, width]), [width, rank])).toBeLessThan(1e-12)
    expect(orthogonalityError(b, [out, rank])).toBeLessThan(1e-12)
  })

  test("svd-zero: changes nothing, neither the function nor the base", () => {
    const factors = lamdaFactors("svd-zero", options)
    expect(largest(factors.s)).toBe(0)
    expect(factors.anchor).toBeUndefined()
    expect(effective(factors)).toEqual(weight)
    const other = lamdaFactors("svd-sigma", options)
    expect([factors.a, factors.b]).toEqual([other.a, other.b])
  })

  test("released: A as in LoRA, B zero, S as a new Linear layer", () => {
    const { a, s, b, anchor } = lamdaFactors("released", { ...options, shape: [8, 100], rank: 64, weight: undefined })
    expect(largest(b)).toBe(0)
    expect(anchor).toBeUndefined()
    expect(largest(a)).toBeLessThanOrEqual(0.1)
    expect(largest(a)).toBeGreaterThan(0.099)
    expect(largest(s)).toBeLessThanOrEqual(0.125)
    expect(largest(s)).toBeGreaterThan(0.124)
  })

  test("gives the same numbers for the same seed", () => {
    for (const init of ["svd-sigma", "svd-zero", "released"] as const) {
      expect(lamdaFactors(init, options)).toEqual(lamdaFactors(init, options))
    }
    expect(lamdaFactors("released", { ...options, seed: 3 }).s).not.toEqual(lamdaFactors("released", options).s)
  })

  test("refuses wrong ranks and scales, and to decompose what is not there", () => {
    expect(() => lamdaFactors("svd-zero", { ...options, rank: 41 })).toThrow(
      "rank is 41, expected an integer of 1 to 40",
    )
    expect(() => lamdaFactors("released", { ...options, scale: Number.NaN })).toThrow("lamdaFactors: scale is NaN")
    expect(() => lamdaFactors("svd-sigma", { ...options, weight: undefined })).toThrow(
      "lamdaFactors: weight is missing",
    )
  })
})

describe("lamdaToLora", () => {
  test.each(["svd-sigma", "svd-zero", "released"] as const)(
    "%s: the trained change of rank r on the untouched base",
    (init) => {
      const start = lamdaFactors(init, options)
      const noise = (values: Float64Array) => values.map((value) => value + random.normal() / 5)
      const trained = { ...start, s: noise(start.s), b: noise(start.b) }
      for (const newScale of [options.scale, 0.25]) {
        const { a, b } = lamdaToLora(trained, options.scale, newScale)
        expect([a.length, b.length]).toEqual([rank * width, out * rank])
        const plain = plus(weight, product(b, a, [out, rank, width]), newScale)
        expectClose(plain, effective(trained), { absolute: 1e-12 }, { what: "W" })
      }
    },
  )

  test("is zero before the first step", () => {
    for (const init of ["svd-sigma", "svd-zero", "released"] as const) {
      expect(largest(lamdaToLora(lamdaFactors(init, options), options.scale).b)).toBeLessThan(1e-14)
    }
  })
})

describe("frozenColumns", () => {
  const schedule = { rank: 32, eta: 0.3, steps: 1000 }
  const steps = Array.from({ length: 1000 }, (_, step) => frozenColumns(step, schedule))

  test("goes from none to all in the first 30 % of the run, one by one", () => {
    expect(steps[0]).toBe(0)
    expect(steps[9]).toBe(0)
    expect(steps[10]).toBe(1) // 300 / 32 = 9.4
    expect(steps[299]).toBe(31)
    expect(steps.slice(300).every((frozen) => frozen === 32)).toBe(true)
    for (let step = 1; step < 300; step++) expect([0, 1]).toContain(steps[step]! - steps[step - 1]!)
  })

  test("leaves 0.1551 of the columns trainable on average", () => {
    const trainable = steps.reduce((sum, frozen) => sum + (32 - frozen) / 32, 0) / 1000
    expect(trainable).toBeCloseTo(0.1551, 4)
  })

  test("reaches the rank for every rank, which the released code does not past 3", () => {
    for (const rank of [1, 2, 3, 4, 8, 64, 256]) {
      expect(frozenColumns(300, { ...schedule, rank })).toBe(rank)
      expect(frozenColumns(299, { ...schedule, rank })).toBe(rank - 1)
    }
    // The released code is int(step / (0.3 * steps)), without the rank.
    const released = Array.from({ length: 1000 }, (_, step) => Math.floor(step / 300))
    expect(Math.max(...released)).toBe(3)
    expect(Math.max(...steps)).toBe(32)
  })

  test("freezes at the exact step where eta * steps is not exact, and across short runs", () => {
    expect(frozenColumns(3, { rank: 8, eta: 0.1, steps: 48 })).toBe(5) // 0.1 * 48 is above 4.8
    expect([0, 1].map((step) => frozenColumns(step, { rank: 4, eta: 0.3, steps: 1 }))).toEqual([0, 4])
  })

  test("refuses shares and runs that are none", () => {
    for (const eta of [0, 1.1, Number.NaN])
      expect(() => frozenColumns(0, { ...schedule, eta })).toThrow(`eta is ${eta}`)
    expect(() => frozenColumns(0, { ...schedule, steps: 0 })).toThrow("step is 0 of 0")
    expect(() => frozenColumns(-1, schedule)).toThrow("step is -1 of 1000")
  })
})

type Shape = [number, number]
const llama7B = Array.from({ length: 32 }, (): Shape[] => [
  [4096, 4096],
  [4096, 4096],
  [4096, 4096],
  [4096, 4096],
  [11008, 4096],
  [11008, 4096],
  [4096, 11008],
]).flat()
const gemma1B = linearModules(gemma3Sizes()["1B"]).map(({ shape }) => shape)

describe("averageUpdates and loraParameters", () => {
  test.each([
    ["Llama 2 7B", llama7B, 32, "8.00e+7", "2.29e+5", "4.35e+7", "6.76e+6", "11.8", 349],
    ["Gemma 3 1B", gemma1B, 8, "6.52e+6", "1.16e+4", "3.67e+6", "5.63e+5", "11.6", 560],
    ["Gemma 3 1B", gemma1B, 16, "1.30e+7", "4.66e+4", "7.35e+6", "1.15e+6", "11.4", 280],
  ] as const)("%s, %#: parameters of all linear modules", (_, shapes, rank, lora, lda, pmb, average, ratio, most) => {
    const modules = shapes.map((shape): readonly [number, number] => [shape[0], shape[1]])
    const s = averageUpdates(modules, rank, 0)
    const b = averageUpdates(modules, rank, 2) - s
    const all = loraParameters(modules, rank)
    const mean = averageUpdates(modules, rank, 0.3)
    const digits = [all, s, b, mean].map((value) => value.toExponential(2))
    expect(digits).toEqual([lora, lda, pmb, average])
    expect((all / mean).toFixed(1)).toBe(ratio)
    expect(Math.round(all / s)).toBe(most)
  })

  test.each<[Shape, string]>([
    [[4096, 4096], "12.7"],
    [[4096, 11008], "23.4"],
    [[11008, 4096], "9.0"],
  ])("one matrix %j at rank 32: %s times fewer", (shape, ratio) => {
    expect((loraParameters([shape], 32) / averageUpdates([shape], 32, 0.3)).toFixed(1)).toBe(ratio)
  })
})

describe("allocateRanks", () => {
  const budget = { rank: 8, low: 4, high: 16 }
  const spectrum = (length: number, at: (k: number) => number) => Array.from({ length }, (_, k) => at(k))
  const flat = spectrum(64, () => 1)
  const short = spectrum(64, (k) => (k < 4 ? 5 - k : 0))
  const decaying = (rate: number) => spectrum(64, (k) => rate ** k)
  const mean = (ranks: Map<string, number>) => [...ranks.values()].reduce((sum, rank) => sum + rank, 0) / ranks.size

  test("gives a flat spectrum the highest rank, and one that ends at the lowest that", () => {
    const ranks = allocateRanks(
      new Map([
        ["short", short],
        ["flat", flat],
        ["a", decaying(0.9)],
        ["b", decaying(0.5)],
      ]),
      budget,
    )
    expect(ranks).toEqual(
      new Map([
        ["short", 4],
        ["flat", 16],
        ["a", 8],
        ["b", 4],
      ]),
    )
  })

  test("has exactly the mean it was asked for, between the limits, more where more energy lies", () => {
    for (let modules = 1; modules <= 40; modules++) {
      const spectra = new Map(
        spectrum(modules, (i) => 0.4 + (0.6 * ((i * 7) % modules)) / modules).map((rate) => [
          `m${rate}`,
          decaying(rate),
        ]),
      )
      const ranks = allocateRanks(spectra, budget)
      expect(mean(ranks)).toBe(8)
      const byRate = [...ranks].toSorted(([x], [y]) => Number(x.slice(1)) - Number(y.slice(1))).map(([, rank]) => rank)
      expect(byRate).toEqual(byRate.toSorted((x, y) => x - y))
      expect(Math.min(...byRate)).toBeGreaterThanOrEqual(4)
      expect(Math.max(...byRate)).toBeLessThanOrEqual(16)
    }
  })

  test("does not depend on the size of the weights, nor on the order but among equals", () => {
    const spectra: [string, number[]][] = [
      ["a", decaying(0.9)],
      ["b", decaying(0.7)],
      ["c", flat],
      ["d", short],
    ]
    const ranks = allocateRanks(new Map(spectra), budget)
    expect(allocateRanks(new Map(spectra.toReversed()), budget)).toEqual(ranks)
    const scaled = spectra.map(([name, values], i): [string, number[]] => [
      name,
      values.map((value) => value * 10 ** i),
    ])
    expect(allocateRanks(new Map(scaled), budget)).toEqual(ranks)
    expect(
      allocateRanks(
        new Map([
          ["a", flat],
          ["b", flat],
          ["c", flat],
        ]),
        budget,
      ),
    ).toEqual(
      new Map([
        ["a", 16],
        ["b", 4],
        ["c", 4],
      ]),
    )
  })

  test("gives no module more ranks than it has, nor a zero one more than it must", () => {
    const spectra = new Map([
      ["thin", flat.slice(0, 6)],
      ["zero", flat.map(() => 0)],
      ["a", decaying(0.7)],
    ])
    expect(allocateRanks(spectra, budget)).toEqual(
      new Map([
        ["thin", 6],
        ["zero", 4],
        ["a", 14],
      ]),
    )
    expect(() => allocateRanks(new Map([["thin", flat.slice(0, 6)]]), budget)).toThrow("mean rank is 8")
    expect(() => allocateRanks(new Map([["thin", flat.slice(0, 3)]]), budget)).toThrow("thin has 3 singular values")
  })

  test("refuses limits out of order and what is no spectrum", () => {
    for (const [low, rank, high] of [
      [9, 8, 16],
      [4, 8, 7],
      [0, 8, 16],
      [4, 8.5, 16],
    ] as const) {
      expect(() => allocateRanks(new Map([["a", flat]]), { low, rank, high })).toThrow(
        "expected integers 1 <= low <= rank <= high",
      )
    }
    for (const values of [
      [1, 2],
      [1, -1],
      [1, Number.NaN],
    ]) {
      const wrong = new Map([["a", values.concat(flat.map(() => 0))]])
      expect(() => allocateRanks(wrong, budget)).toThrow(
        `a[1] is ${values[1]}, expected singular values, largest first`,
      )
    }
  })
})
