import { readFileSync } from "node:fs"
import { gunzipSync } from "node:zlib"
import { describe, expect, test } from "vitest"
import { containsAny, recall } from "../../src/eval/score/contains.ts"
import { similarity } from "../../src/eval/score/difflib.ts"
import { exactMatch, f1 } from "../../src/eval/score/f1.ts"
import { nearness, sameText } from "../../src/eval/score/latent_list.ts"
import { mrcrScore } from "../../src/eval/score/mrcr.ts"
import { bucketsOf, runningMeans } from "../../src/eval/score/positions.ts"
import { fitPowerLaw } from "../../src/eval/score/power_law.ts"

describe("similarity", () => {
  test("is what Python's difflib says of known texts", () => {
    const a = "the cat sat on the mat and the dog sat on the log ".repeat(5)
    const b = "a dog and the cat sat by the mat while the log was wet ".repeat(5)
    expect(similarity(a, b)).toBe(0)
    expect(similarity(a, b, { autojunk: false })).toBeCloseTo(0.5219, 4)
    expect(similarity(a.slice(0, 199), b.slice(0, 199))).toBeCloseTo(0.5628, 4)
    expect(similarity(a.slice(0, 199), b.slice(0, 199), { autojunk: false })).toBeCloseTo(0.5628, 4)
    expect(similarity("abxcd", "abcd")).toBeCloseTo(0.8889, 4)
    expect(similarity("penguin poem", "a penguin poet")).toBeCloseTo(0.8462, 4)
    expect(similarity("", "")).toBe(1)
    expect(similarity("", "a")).toBe(0)
  })

  test("is to the bit what Python's difflib says of 1,000 pairs", () => {
    const file = readFileSync(new URL("../fixtures/eval/difflib_pairs.json.gz", import.meta.url))
    const rows: [string, string, number, number][] = JSON.parse(gunzipSync(file).toString())
    expect(rows.length).toBe(1000)
    expect(rows.filter(([, , popular, plain]) => popular !== plain).length).toBeGreaterThan(100)
    const wrong = rows.filter(
      ([a, b, popular, plain]) => similarity(a, b) !== popular || similarity(a, b, { autojunk: false }) !== plain,
    )
    expect(wrong).toEqual([])
  })
})

describe("mrcrScore", () => {
  const target = "AbCdEf123456 A poem about penguins, in full."

  test("compares what follows the last mark", () => {
    expect(mrcrScore(target, target)).toEqual({ lenient: 1, strict: 1 })
    expect(mrcrScore("\n AbCdEf123456 A poem about penguins, in full. ", target).strict).toBe(1)
    expect(mrcrScore("AbCdEf123456 no, this: AbCdEf123456A poem about penguins, in full.", target).strict).toBe(1)
  })

  test("without the mark is 0, and behind other words 0 when strict", () => {
    expect(mrcrScore("A poem about penguins, in full.", target)).toEqual({ lenient: 0, strict: 0 })
    expect(mrcrScore(`Sure! ${target}`, target)).toEqual({ lenient: 1, strict: 0 })
    expect(mrcrScore("anything", "", "")).toEqual({ lenient: 0, strict: 0 })
  })
})

describe("recall and containsAny", () => {
  test("look for references whatever their case", () => {
    expect(recall("It is 123 and ABC.", ["123", "abc", "7", "it"])).toBe(0.75)
    expect(containsAny("Paris, of course", ["london", "paris"])).toBe(1)
    expect(containsAny("Rome", ["london", "paris"])).toBe(0)
  })
})

describe("f1 and exactMatch", () => {
  test("count shared words without case, punctuation and articles", () => {
    expect(f1("The golden hair!", ["golden hair"])).toBe(1)
    expect(f1("her golden hair", ["golden hair", "gold"])).toBeCloseTo(0.8)
    expect(f1("one cat one cat", ["cat dog"])).toBeCloseTo(1 / 3)
    expect(f1("nothing", ["golden hair"])).toBe(0)
    expect(f1("", ["the"])).toBe(1)
    expect(exactMatch("The Golden hair.", ["golden hair"])).toBe(1)
    expect(exactMatch("golden", ["golden hair"])).toBe(0)
  })
})

describe("nearness and sameText", () => {
  test("fall with the relative error", () => {
    expect(nearness("90", 100)).toBeCloseTo(0.9)
    expect(nearness("-90\n", -100)).toBeCloseTo(0.9)
    expect(nearness("300", 100)).toBe(0)
    expect(nearness("100", 100)).toBe(1)
  })

  test("give nothing for what is no integer", () => {
    for (const answer of ["100.0", "1e2", "about 100", "", "100 200"]) expect(nearness(answer, 100)).toBe(0)
  })

  test("give nothing but for 0 where the target is 0", () => {
    expect(nearness("0", 0)).toBe(1)
    expect(nearness("1", 0)).toBe(0)
    expect(nearness("-1", 0)).toBe(0)
  })

  test("compare printed lists as they are, spaces around them aside", () => {
    expect(sameText(" [1, -2] ", "[1, -2]")).toBe(1)
    expect(sameText("[1,-2]", "[1, -2]")).toBe(0)
  })
})

describe("bucketsOf", () => {
  test("of a uniform model are log V everywhere", () => {
    const buckets = bucketsOf(new Float64Array(1000).fill(Math.log(4096)), 1)
    expect(buckets.map(({ from }) => from)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    expect(buckets.at(-1)).toMatchObject({ to: 1001, tokens: 489 })
    for (const { loss } of buckets) expect(loss).toBeCloseTo(Math.log(4096), 12)
    for (const mean of runningMeans(buckets)) expect(mean).toBeCloseTo(Math.log(4096), 12)
    const law = fitPowerLaw(buckets)!
    expect(law.alpha * 10 ** law.beta + law.gamma).toBeCloseTo(Math.log(4096), 9)
  })

  test("hold the mean of their positions, from where the losses begin", () => {
    expect(bucketsOf([1, 2, 3, 4], 3)).toEqual([
      { from: 3, to: 4, loss: 1, tokens: 1 },
      { from: 4, to: 7, loss: 3, tokens: 3 },
    ])
    expect(runningMeans(bucketsOf([4, 2, 3], 1))).toEqual([4, 3])
  })
})

describe("fitPowerLaw", () => {
  test("finds the law that losses were made of", () => {
    const buckets = bucketsOf(new Float64Array(8191), 1).map((bucket) => {
      const middle = Math.sqrt(bucket.from * (bucket.to - 1))
      return { ...bucket, loss: 3 * middle ** -0.4 + 1.7 }
    })
    const law = fitPowerLaw(buckets)!
    expect(law.alpha).toBeCloseTo(3, 4)
    expect(law.beta).toBeCloseTo(-0.4, 4)
    expect(law.gamma).toBeCloseTo(1.7, 4)
    expect(law.r2).toBeCloseTo(1, 9)
  })

  test("is not there for fewer than 4 buckets", () => {
    expect(fitPowerLaw(bucketsOf([1, 2, 3, 4, 5], 1))).toBeUndefined()
  })
})
