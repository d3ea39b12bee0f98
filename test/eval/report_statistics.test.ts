import { expect, test } from "vitest"
import { difference, estimate, holm, SIGN_DRAWS, signFlipP, unit } from "../../src/eval/report/statistics.ts"
import { Random } from "../../src/train/random.ts"

/** Draws of another generator than the one under test. */
const draws = (count: number, draw: () => number) => Array.from({ length: count }, draw)
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

/** All means of resamples of a few values, each as often as it comes: the bootstrap without chance. */
function allMeans(values: readonly number[]): number[] {
  const sums = (depth: number): number[] =>
    depth === 0 ? [0] : sums(depth - 1).flatMap((sum) => values.map((v) => sum + v))
  return sums(values.length)
    .map((sum) => sum / values.length)
    .sort((a, b) => a - b)
}

/** The two-sided p-value of all signs, by recursion. */
function slowP(differences: readonly number[]): number {
  const sums = (i: number): number[] =>
    i === differences.length ? [0] : sums(i + 1).flatMap((sum) => [sum + differences[i]!, sum - differences[i]!])
  const seen = Math.abs(differences.reduce((a, b) => a + b, 0))
  const all = sums(0)
  return all.filter((sum) => Math.abs(sum) >= seen - 1e-9).length / all.length
}

test("estimate gives the interval that all resamples together give", () => {
  const values = [0.1, 0.4, 0.45, 0.8, 0.95, 1]
  const found = estimate(values.map(unit), 0, "six")!
  const exact = allMeans(values)
  expect(found.mean).toBeCloseTo(mean(values), 12)
  expect(found.interval![0]).toBeCloseTo(exact[Math.floor(exact.length * 0.025)]!, 1)
  expect(found.interval![1]).toBeCloseTo(exact[Math.floor(exact.length * 0.975)]!, 1)
  expect(estimate(values.map(unit), 0, "six")).toEqual(found)
  expect(estimate(values.map(unit), 1, "six")!.interval).not.toEqual(found.interval)
})

test("estimate of many values has the width that the normal distribution gives", () => {
  const random = new Random(3)
  const values = draws(400, () => 5 + 2 * random.normal())
  const deviation = Math.sqrt(mean(values.map((v) => (v - mean(values)) ** 2)))
  const [low, high] = estimate(values.map(unit), 7, "many")!.interval!
  expect((high - low) / ((2 * 1.96 * deviation) / Math.sqrt(400))).toBeCloseTo(1, 1)
})

test("estimate covers the true mean about 95 times of 100", () => {
  const random = new Random(11)
  const covered = draws(150, () => {
    const values = draws(40, () => (random.uniform() < 0.7 ? 1 : 0))
    const [low, high] = estimate(values.map(unit), random.bits(), "coverage")!.interval!
    return low <= 0.7 && high >= 0.7 ? 1 : 0
  })
  expect(mean(covered)).toBeGreaterThan(0.89)
  expect(mean(covered)).toBeLessThan(0.985)
})

test("estimate weighs units, and gives no interval where nothing differs", () => {
  const weighed = [
    { sum: 30, weight: 10 },
    { sum: 2, weight: 1 },
  ]
  expect(estimate(weighed, 0, "weighed")!.mean).toBeCloseTo(32 / 11, 12)
  expect(estimate([1, 1, 1].map(unit), 0, "same")).toEqual({ count: 3, mean: 1 })
  expect(estimate([unit(0.3)], 0, "one")).toEqual({ count: 1, mean: 0.3 })
  expect(estimate([], 0, "none")).toBeUndefined()
})

test("signFlipP goes through all signs of few differences", () => {
  for (const differences of [[0.5], [1, 1, 1, 1, 1], [0.3, -0.1, 0.25, 0.4, -0.05, 0.6], [1, -1], [0, 0, 1, 1, 1]]) {
    expect(signFlipP(differences, new Random(0))).toBeCloseTo(slowP(differences), 12)
  }
  expect(signFlipP([0, 0, 0], new Random(0))).toBe(1)
  expect(signFlipP([], new Random(0))).toBe(1)
})

test("signFlipP draws signs of many differences, and is never 0", () => {
  const random = new Random(5)
  const differences = draws(16, () => 0.35 + random.normal())
  const exact = slowP(differences)
  const room = 4 * Math.sqrt((exact * (1 - exact)) / SIGN_DRAWS)
  expect(Math.abs(signFlipP(differences, new Random(1)) - exact)).toBeLessThan(room)
  expect(
    signFlipP(
      draws(64, () => 1),
      new Random(2),
    ),
  ).toBe(1 / (SIGN_DRAWS + 1))
})

test("signFlipP of runs that are alike is below 0.05 about 5 times of 100", () => {
  const random = new Random(17)
  const ps = draws(400, () =>
    signFlipP(
      draws(10, () => random.normal()),
      random,
    ),
  )
  expect(mean(ps.map((p) => (p <= 0.05 ? 1 : 0)))).toBeLessThan(0.08)
  expect(mean(ps)).toBeGreaterThan(0.44)
  expect(mean(ps)).toBeLessThan(0.56)
})

test("difference has a mean, an interval and a p-value of the same differences", () => {
  const differences = [0.2, 0.4, -0.1, 0.3, 0.5, 0.1]
  const found = difference(differences, 0, "pairs")!
  expect(found.mean).toBeCloseTo(1.4 / 6, 12)
  expect(found.p).toBeCloseTo(slowP(differences), 12)
  expect(found.interval![0]).toBeLessThan(found.mean)
  expect(difference([], 0, "none")).toBeUndefined()
})

test("holm raises p-values by how many tests are left, in order and to 1 at most", () => {
  expect(holm([0.01, 0.04, 0.03, 0.005])).toEqual([0.03, 0.06, 0.06, 0.02].map((p) => expect.closeTo(p, 12)))
  expect(holm([0.6, 0.7])).toEqual([1, 1])
  expect(holm([0.2])).toEqual([0.2])
  expect(holm([])).toEqual([])
})
