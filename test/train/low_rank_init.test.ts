import { describe, expect, test } from "vitest"
import {
  type ApproximatedActivation,
  functionApproximation,
  outputDistance,
  spectral,
} from "../../src/train/low_rank_init.ts"
import { Random } from "../../src/train/random.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope } from "../helpers/gradients.ts"
import { weightError } from "../reference/factorize.ts"
import { ACTIVATIONS, distance } from "../reference/function_approximation.ts"
import { product } from "../reference/low_rank.ts"

const normal = (length: number, seed: number, scale = 1) => {
  const random = new Random(seed)
  return Float64Array.from({ length }, () => scale * random.normal())
}
const [N, C] = [48, 32]
const shape = [N, C] as const
const weight = normal(N * C, 1, C ** -0.5)
const NAMES: ApproximatedActivation[] = ["relu", "gelu_tanh", "silu"]

describe("spectral", () => {
  test("is nearer to the weight than random changes of it", () => {
    const { u, v } = spectral(weight, shape, 8)
    const best = weightError(weight, u, v, [N, 8, C])
    for (const seed of [2, 3, 4]) {
      const moved = u.map((value, i) => value + 0.01 * normal(u.length, seed)[i]!)
      expect(weightError(weight, moved, v, [N, 8, C])).toBeGreaterThan(best)
    }
  })
})

describe("outputDistance", () => {
  test.each(NAMES)("%s: its gradients are the slopes of its objective", (activation) => {
    const [n, r, c] = [6, 3, 7]
    const distanceOf = outputDistance(normal(n * c, 5), [n, c], r, activation)
    const [u, v] = [normal(n * r, 6), normal(r * c, 7)]
    const { du, dv } = distanceOf({ u, v })
    expectSlope(du, { f: (x) => [distanceOf({ u: x, v }).objective], x: u, dy: [1] }, 1e-6, { what: "du" })
    expectSlope(dv, { f: (x) => [distanceOf({ u, v: x }).objective], x: v, dy: [1] }, 1e-6, { what: "dv" })
  })
})

describe("functionApproximation", () => {
  test.each(NAMES)(
    "%s: its objective is the mean squared distance of outputs, for small and large weights",
    (activation) => {
      for (const [scale, relative] of [
        [0.3, 1e-9],
        [1, 1e-5],
        [3, 5e-3],
      ] as const) {
        const [n, c, r] = [3, 5, 2]
        const w = normal(n * c, 7, scale)
        const tolerance = { relative: activation === "relu" ? 1e-3 : relative }
        const { u, v, objective, spectralObjective } = functionApproximation(w, [n, c], r, { activation, steps: 5 })
        const truth = distance(ACTIVATIONS[activation], w, u, v, [n, r, c])
        expectClose([objective], [truth], tolerance, { what: "objective" })
        const start = spectral(w, [n, c], r)
        const before = distance(ACTIVATIONS[activation], w, start.u, start.v, [n, r, c])
        expectClose([spectralObjective], [before], tolerance, { what: "spectralObjective" })
      }
    },
  )

  test.each(NAMES)("%s: ends below spectral's objective, by more the smaller the rank", (activation) => {
    const gaps = [4, 8, 16, 24].map((rank) => {
      const { objective, spectralObjective } = functionApproximation(weight, shape, rank, { activation, steps: 120 })
      expect(objective).toBeLessThan(spectralObjective)
      return spectralObjective - objective
    })
    expect(gaps).toEqual(gaps.toSorted((a, b) => b - a))
  })

  test.each(NAMES)("%s: stays at the start where there is nothing to gain", (activation) => {
    const start = spectral(weight, shape, C)
    const full = functionApproximation(weight, shape, C, { activation, steps: 20 })
    expect(full.spectralObjective).toBeLessThan(1e-12)
    expect(full.objective).toBeLessThanOrEqual(full.spectralObjective)
    expectClose(product(full.u, full.v, [N, C, C]), weight, { relative: 1e-6 }, { what: "u v" })
    const none = functionApproximation(weight, shape, 8, { activation, steps: 0 })
    expect(none.objective).toBe(none.spectralObjective)
    expect(none.u.length).toBe((8 * start.u.length) / C)
  })

  test("takes a unit without weights", () => {
    const w = weight.slice().fill(0, 0, C)
    for (const activation of NAMES) {
      const { u, v, objective } = functionApproximation(w, shape, 8, { activation, steps: 10 })
      expect(Number.isFinite(objective)).toBe(true)
      expect([...u, ...v].every(Number.isFinite)).toBe(true)
    }
  })

  test("refuses a number of steps that is none", () => {
    const fail = () => functionApproximation(weight, shape, 8, { activation: "relu", steps: 0.5 })
    expect(fail).toThrow("functionApproximation: steps is 0.5, expected a whole number from 0 on")
  })
})
