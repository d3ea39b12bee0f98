import { expect, test } from "vitest"
import { fillNormal, generator, permutation } from "../../src/train/permutation.ts"

test("generator follows xoshiro128** once its state is known", () => {
  // Four outputs give the state's second word at four times, by undoing the scrambler: (s1 * 5 rotl 7) * 9.
  const M = 1n << 32n
  const rotl = (x: bigint, k: bigint) => ((x << k) | (x >> (32n - k))) % M
  const inverse = (odd: bigint) => {
    let y = 1n
    for (let i = 0; i < 6; i++) y = (y * (2n - odd * y)) & (M - 1n)
    return y
  }
  const second = (out: number) => (rotl((BigInt(out) * inverse(9n)) % M, 25n) * inverse(5n)) % M
  const next = generator(12345, 6)
  const seen = Array.from({ length: 40 }, () => second(next()))
  // s1' = s1 ^ s2 ^ s0 and the like: search no state, check the linear recurrence by running it from a solved state.
  const state = solve(seen.slice(0, 4))
  const replayed = run(state, 40)
  expect(replayed).toEqual(seen)

  function run([a, b, c, d]: bigint[], count: number): bigint[] {
    let s = [a!, b!, c!, d!]
    return Array.from({ length: count }, () => {
      const shown = s[1]!
      const t = (s[1]! << 9n) % M
      const s2 = s[2]! ^ s[0]!
      const s3 = s[3]! ^ s[1]!
      s = [s[0]! ^ s3, s[1]! ^ s2, s2 ^ t, rotl(s3, 11n)]
      return shown
    })
  }

  /** The state is linear over GF(2): 128 unknown bits, 128 equations. */
  function solve(words: bigint[]): bigint[] {
    const pack = (four: bigint[]) => four.reduce((sum, word, i) => sum | (word << BigInt(32 * i)), 0n)
    const unpack = (bits: bigint) => [0n, 32n, 64n, 96n].map((shift) => (bits >> shift) % M)
    const rows = Array.from({ length: 128 }, (_, i) => ({
      image: pack(run(unpack(1n << BigInt(i)), 4)),
      from: 1n << BigInt(i),
    }))
    let target = pack(words)
    let solution = 0n
    for (let bit = 0n; bit < 128n; bit++) {
      const mask = 1n << bit
      const at = rows.findIndex(({ image }) => image & mask)
      const [pivot] = rows.splice(at, 1)
      if (target & mask) {
        target ^= pivot!.image
        solution ^= pivot!.from
      }
      for (const row of rows) {
        if (!(row.image & mask)) continue
        row.image ^= pivot!.image
        row.from ^= pivot!.from
      }
    }
    expect(target).toBe(0n)
    return unpack(solution)
  }
})

test("generator gives other numbers for another seed, its upper half, and another stream", () => {
  const first = (seed: number, stream?: number) => Array.from({ length: 4 }, generator(seed, stream)).join()
  const all = [first(0), first(1), first(2 ** 32), first(2 ** 53 - 1), first(0, 1), first(1, 1), first(0, 2)]
  expect(new Set(all).size).toBe(all.length)
  expect(first(7, 3)).toBe(first(7, 3))
  expect(() => generator(-1)).toThrow("generator: seed is -1, expected a whole number from 0 to 2^53 - 1")
  expect(() => generator(0.5)).toThrow(RangeError)
})

test("permutation holds each number once, and every order comes as often as the others", () => {
  expect([...permutation(1000, 3)].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i))
  expect([...permutation(1, 3)]).toEqual([0])
  const counts = new Map<string, number>()
  for (let stream = 0; stream < 6000; stream++) {
    const order = permutation(3, 5, stream).join()
    counts.set(order, (counts.get(order) ?? 0) + 1)
  }
  expect(counts.size).toBe(6)
  // 5 degrees of freedom: chi squared passes 20.5 once in a thousand times.
  const chi = [...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0)
  expect(chi).toBeLessThan(20.5)
})

test("fillNormal draws from N(0, deviation^2)", () => {
  const values = new Float32Array(200_001)
  fillNormal(values, 0.02, generator(1))
  const moment = (power: number) => values.reduce((sum, value) => sum + (value / 0.02) ** power, 0) / values.length
  for (const [power, expected] of [
    [1, 0],
    [2, 1],
    [3, 0],
    [4, 3],
  ] as const) {
    // Five standard errors of the sample's moment; Var z^4 = 96.
    const error = 5 * Math.sqrt([1, 2, 15, 96][power - 1]! / values.length)
    expect(Math.abs(moment(power) - expected), `moment ${power}`).toBeLessThan(error)
  }
  expect(values.every(Number.isFinite)).toBe(true)
  const neighbours = values.reduce((sum, value, i) => sum + value * (values[i + 1] ?? 0), 0) / values.length / 4e-4
  expect(Math.abs(neighbours)).toBeLessThan(5 / Math.sqrt(values.length))
})
