import { describe, expect, test } from "vitest"
import { gatedLinear } from "../../src/kernels/gated_linear.ts"
import { glu, gluHalves } from "../../src/kernels/glu.ts"
import { linear } from "../../src/kernels/linear.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { sharesFew } from "../../src/kernels/subgroups.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Matrix } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { gradients } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  random,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  weights,
} from "../helpers/kernels.ts"
import { ternaryMatrix, trits } from "../helpers/ternary.ts"
import * as reference from "../reference/gated_linear.ts"

/** By invocations that stream rows of their own, or that share them. What shares them is slow to compile where there is no GPU. */
const VARIANTS = [
  { activation: "gelu_tanh", split: 1, dtypes: WEIGHT_DTYPES, counts: [1, 2, 3, 8, 33] },
  { activation: "silu", split: 1, dtypes: WEIGHT_DTYPES, counts: [1, 3] },
  { activation: "gelu_tanh", split: 8, dtypes: ["bf16"], counts: [1, 8] },
  { activation: "silu", split: 32, dtypes: ["bf16"], counts: [1, 3] },
] as const

describe.each(VARIANTS)("gatedLinear $activation, rows shared by $split", ({ activation, split, dtypes, counts }) => {
  const device = testDevice({ subgroups: "never", tuning: { split } })
  const shapes = [
    [1, 4, 4],
    [1, 12, 20],
    [1, 172, 132],
    [1, 640, 260],
    [1, 2560, 12],
    [2, 12, 20],
    [3, 640, 36],
    [8, 172, 132],
    [33, 172, 36],
  ] as const
  const tokens: readonly number[] = counts

  test.each(shapes.filter(([T]) => tokens.includes(T)))(
    "equals its definition for T = %i, C = %i, F = %i, weights in every type",
    async (T, C, F) => {
      const x = uniform(T * C, 1)
      const input = tensor(device(), [T, C], x)
      for (const dtype of dtypes) {
        const weight = weights(2 * F * C, 2, dtype)
        const w = matrix(device(), [2 * F, C], weight)
        const y = await compute(device(), (run) => gatedLinear(run, input, w, activation))
        const expected = reference.gatedLinear(x, weight.values, C, activation)
        expectClose(y, expected, { relative: 6e-6 }, { what: `gatedLinear ${dtype} T ${T} C ${C}` })
        free(device(), w)
      }
      free(device(), input)
    },
  )
})

describe.each(["gelu_tanh", "silu"] as const)("gatedLinear %s", (activation) => {
  const device = testDevice()

  test("takes trits for activations in full", async () => {
    const [C, F] = [64, 36]
    const [x, weight] = [uniform(C, 1), trits(2 * F * C, 2)]
    const [input, w] = [tensor(device(), [1, C], x), ternaryMatrix(device(), [2 * F, C], weight)]
    const y = await compute(device(), (run) => gatedLinear(run, input, w, activation))
    const expected = reference.gatedLinear(x, weight.values, C, activation)
    expectClose(y, expected, { relative: 6e-6 }, { what: "gatedLinear ternary" })
    free(device(), input, w)
  })

  test.each(["q4", "q8"] as const)("gives for a token and %s what linear and gluHalves give", async (dtype) => {
    const [C, F] = [96, 68]
    const [input, w] = [tensor(device(), [1, C], uniform(C, 1)), device().matrix("weights", [2 * F, C], dtype)]
    device().write(w.parts[0]!.tensor, blocks(2 * F * (C / 32), dtype === "q4" ? 4 : 8))
    const fused = await compute(device(), (run) => gatedLinear(run, input, w, activation))
    const composed = await compute(device(), (run) => gluHalves(run, linear(run, input, w), activation))
    expectClose(fused, composed, { relative: 1e-6 }, { what: `gatedLinear ${dtype}` })
    expect(dispatches([1, C], w)).toBe(1)
    free(device(), input, w)
  })

  /** n blocks of rows in groups of 32, of so many words of random codes and then a scale. */
  function blocks(n: number, words: number): Uint32Array<ArrayBuffer> {
    const next = random(5)
    const scale = new Uint32Array(Float32Array.of(2 ** -7).buffer)[0]!
    return Uint32Array.from({ length: n * (words + 1) }, (_, i) =>
      Math.floor(i / 32) % (words + 1) === words ? scale : Math.floor(next() * 2 ** 32),
    )
  }

  test("has the gradients of linear and glu on a tape", async () => {
    const [C, F] = [20, 12]
    const weight = weights(2 * F * C, 2, "f32")
    const [x, dy] = [tensor(device(), [1, C], uniform(C, 1)), tensor(device(), [1, F], uniform(F, 3))]
    const [gate, up] = [0, F * C].map((at) => {
      const stored = weight.values.slice(at, at + F * C) as Float32Array<ArrayBuffer>
      return matrix(device(), [F, C], { dtype: "f32", stored, values: stored })
    }) as [Matrix, Matrix]
    const w = matrix(device(), [2 * F, C], weight)
    const [dx, dweight] = await gradients(device(), (run) => gatedLinear(run, x, w, activation), dy, [x, w])
    const apart = (run: Run) => glu(run, linear(run, x, gate), linear(run, x, up), activation)
    const [sum, dgate, dup] = await gradients(device(), apart, dy, [x, gate, up])
    expectClose(dx!, sum!, { relative: 1e-6 }, { what: "gatedLinear dx" })
    expectClose(dweight!, [...dgate!, ...dup!], { relative: 1e-6 }, { what: "gatedLinear dweight" })
  })

  test("is one dispatch for a token alone and few that share no loads, but not on a tape or for a weight in parts", async () => {
    const weight = weights(16 * 8, 2, "bf16")
    const w = matrix(device(), [16, 8], weight)
    const few = sharesFew(new Run(device())) ? 2 : 1
    expect([1, 2, 4, 9].map((T) => dispatches([T, 8], w))).toEqual([1, few, few, 2])
    expect(dispatches([1, 8], w, new Tape())).toBe(2)
    const blocks = device().matrix("weights", [16, 32], "q4")
    expect([1, 2, 9].map((T) => dispatches([T, 32], blocks))).toEqual([1, 2, 2])
    const parts = matrix(device(), [16, 8], weight, 6)
    expect(dispatches([1, 8], parts)).toBe(4)
    const x = uniform(8, 1)
    const y = await compute(device(), (run) => gatedLinear(run, tensor(device(), [1, 8], x), parts, activation))
    const expected = reference.gatedLinear(x, weight.values, 8, activation)
    expectClose(y, expected, { relative: 6e-6 }, { what: "gatedLinear in parts" })
  })

  function dispatches(shape: readonly [number, number], weight: Matrix, tape?: Tape): number {
    const run = new Run(device(), tape)
    const x = tensor(device(), shape, uniform(shape[0] * shape[1], 1))
    run.keep(gatedLinear(run, x, weight, activation))
    const pool = new ScratchPool(device())
    const plan = run.plan(pool)
    const count = plan.dispatches
    plan.dispose()
    pool.dispose()
    free(device(), x)
    return count
  }

  test("refuses shapes and types that do not fit", () => {
    const run = new Run(device())
    const x = run.empty([1, 8])
    expect(() => gatedLinear(run, x, run.emptyMatrix([8, 12]), activation)).toThrow(
      new RangeError("gatedLinear: weight is [8, 12], expected [8, 8]"),
    )
    expect(() => gatedLinear(run, x, run.emptyMatrix([12, 8]), activation)).toThrow(
      new RangeError("gatedLinear: weight has 12 rows, expected a multiple of 8"),
    )
    expect(() => gatedLinear(run, run.empty([1, 8], "int8"), run.emptyMatrix([8, 8]), activation)).toThrow(
      new TypeError("gatedLinear: x is int8, expected f32"),
    )
  })
})
