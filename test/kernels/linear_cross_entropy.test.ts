import { describe, expect, test } from "vitest"
import { crossEntropy } from "../../src/kernels/cross_entropy.ts"
import type { Device } from "../../src/kernels/device.ts"
import { linear } from "../../src/kernels/linear.ts"
import { IGNORED, linearCrossEntropy } from "../../src/kernels/linear_cross_entropy.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Matrix, Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { openTestDevice } from "../helpers/device.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  random,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  type Weights,
  weights,
} from "../helpers/kernels.ts"
import { ternaryMatrix, trits } from "../helpers/ternary.ts"
import * as reference from "../reference/linear_cross_entropy.ts"

interface Case<W = Pick<Weights, "values">> {
  readonly x: Float32Array<ArrayBuffer>
  readonly weight: W
  readonly targets: Uint32Array<ArrayBuffer>
  readonly dloss: Float32Array<ArrayBuffer>
  readonly softcap: number | null
}

/** Logits of a few units, every fourth target ignored, the first and the last token among the others. */
function sample(
  [T, C, V]: readonly [number, number, number],
  softcap: number | null,
  dtype: Weights["dtype"],
): Case<Weights> {
  const next = random(4)
  const targets = Uint32Array.from({ length: T }, (_, t) =>
    t % 4 === 3 ? IGNORED : t === 1 ? 0 : t === 2 ? V - 1 : Math.floor(next() * V),
  )
  const x = uniform(T * C, 1, 12 / Math.sqrt(C))
  return { x, weight: weights(V * C, 2, dtype), targets, dloss: uniform(T, 3), softcap }
}

describe("linearCrossEntropy", () => {
  const device = testDevice()

  /** Holds loss and gradients to the definition and its slope. */
  async function check(device: Device, each: Case, w: Matrix, what: string): Promise<void> {
    const { x, weight, targets, dloss, softcap } = each
    const T = targets.length
    const input = tensor(device, [T, x.length / T], x)
    const ids = tensor(device, [T], targets)
    const d = tensor(device, [T], dloss)
    const build = (run: Run) => linearCrossEntropy(run, input, w, ids, { softcap })
    const loss = await compute(device, build)
    const expected = reference.linearCrossEntropy(x, weight.values, targets, softcap)
    expectClose(loss, expected, { absolute: 4e-6, relative: 2e-6 }, { what: `${what}, loss` })
    const [dx, dweight] = await gradients(device, build, d, [input, w])
    const backward = reference.linearCrossEntropyBackward(x, weight.values, targets, dloss, softcap)
    expectClose(dx!, backward.dx, { relative: 5e-6, absolute: 1e-6 }, { what: `${what}, dx` })
    expectClose(dweight!, backward.dweight, { relative: 5e-6, absolute: 1e-6 }, { what: `${what}, dweight` })
    const ofX = (x: Float64Array) => reference.linearCrossEntropy(x, weight.values, targets, softcap)
    expectSlope(dx!, { f: ofX, x, dy: dloss }, 5e-6, { what: `${what}, dx` })
    const ofWeight = (weight: Float64Array) => reference.linearCrossEntropy(x, weight, targets, softcap)
    expectSlope(dweight!, { f: ofWeight, x: weight.values, dy: dloss }, 5e-6, { what: `${what}, dweight` })
    free(device, input, ids, d)
  }

  test.each([
    [1, 4, 1],
    [1, 172, 257],
    [5, 4, 3],
    [5, 172, 33],
    [33, 172, 256],
    [33, 640, 65],
  ] as const)(
    "and its gradients are the definition's for T = %i, C = %i, V = %i, capped or not, weights in every type",
    async (T, C, V) => {
      for (const dtype of WEIGHT_DTYPES) {
        for (const softcap of [null, 3, 30]) {
          const each = sample([T, C, V], softcap, dtype)
          const w = matrix(device(), [V, C], each.weight)
          await check(device(), each, w, `linear ce ${dtype} C ${C} V ${V} cap ${softcap}`)
          free(device(), w)
        }
      }
    },
  )

  test.each(WEIGHT_DTYPES)(
    "walks over many blocks of a %s table in parts, whatever parts its gradient has",
    async (dtype) => {
      const small = await openTestDevice({ limits: "default" })
      for (const [T, C, V, rows, gradientRows] of [
        [16, 4, 300, 300, 264], // blocks of 64 rows
        [5, 4, 300, 300, 170], // of 128
        [5, 12, 301, 101, 77],
        [3, 172, 130, 67, 5],
        [1, 12, 301, 150, 14],
      ] as const) {
        const each = sample([T, C, V], 5, dtype)
        Object.assign(small, { maxBinding: 2 ** 27 })
        const w = matrix(small, [V, C], each.weight, rows)
        Object.assign(small, { maxBinding: gradientRows * C * 4 }) // also what a block of logits may take
        await check(small, each, w, `linear ce ${dtype} C ${C}, parts of ${rows} and ${gradientRows}`)
      }
      small.dispose()
    },
  )

  test("equals the dense path, and repeats to the bit", async () => {
    const [T, C, V] = [33, 64, 1000]
    const { x, weight, targets, dloss } = sample([T, C, V], null, "bf16")
    const [input, ids, d] = [tensor(device(), [T, C], x), tensor(device(), [T], targets), tensor(device(), [T], dloss)]
    const w = matrix(device(), [V, C], weight)
    const streamed = (run: Run) => linearCrossEntropy(run, input, w, ids, { softcap: null })
    const dense = (run: Run) => crossEntropy(run, linear(run, input, w), ids)
    expect(await compute(device(), streamed)).toEqual(await compute(device(), dense))
    const [a, b, again] = [
      await gradients(device(), streamed, d, [input, w]),
      await gradients(device(), dense, d, [input, w]),
      await gradients(device(), streamed, d, [input, w]),
    ]
    expect(a).toEqual(b)
    expect(again).toEqual(a)
  })

  test("computes no gradient that nobody keeps", async () => {
    const [T, C, V] = [2, 4, 100]
    const { x, weight, targets, dloss } = sample([T, C, V], null, "f32")
    const [input, ids, d] = [tensor(device(), [T, C], x), tensor(device(), [T], targets), tensor(device(), [T], dloss)]
    const w = matrix(device(), [V, C], weight)
    const dispatches = (wrt: readonly (Tensor | Matrix)[]) => {
      const tape = new Tape()
      const run = new Run(device(), tape)
      const loss = run.keep(linearCrossEntropy(run, input, w, ids, { softcap: null }))
      for (const gradient of tape.gradients(run, loss, d, wrt)) {
        for (const part of "parts" in gradient! ? gradient.parts.map((part) => part.tensor) : [gradient!])
          run.keep(part)
      }
      const pool = new ScratchPool(device())
      const plan = run.plan(pool)
      const count = plan.dispatches
      plan.dispose()
      pool.dispose()
      return count
    }
    expect([dispatches([]), dispatches([input]), dispatches([w]), dispatches([input, w])]).toEqual([2, 5, 5, 6])
  })

  test.each([
    [1, 64, 300, 300],
    [5, 96, 301, 101],
    [33, 64, 257, 257],
  ] as const)(
    "and its gradients are the definition's for a ternary table, T = %i, C = %i, V = %i, parts of %i",
    async (T, C, V, rows) => {
      const small = await openTestDevice({ limits: "default" })
      const table = trits(V * C, 2, 0.08)
      for (const softcap of [null, 30]) {
        const each = { ...sample([T, C, V], softcap, "f32"), weight: table }
        Object.assign(small, { maxBinding: 2 ** 27 })
        const w = ternaryMatrix(small, [V, C], table, rows)
        Object.assign(small, { maxBinding: T * C * 4 }) // room for logits of blocks of 64 rows
        await check(small, each, w, `linear ce ternary C ${C} V ${V} cap ${softcap}`)
      }
      small.dispose()
    },
  )

  describe("for a vocabulary of 262,144", () => {
    const [C, V] = [64, 262_144]

    /** A step as far as it is recorded: loss, dx and dweight. */
    function record(device: Device, x: Tensor, w: Matrix, targets: Tensor, dloss: Tensor) {
      const tape = new Tape()
      const run = new Run(device, tape)
      const loss = linearCrossEntropy(run, x, w, targets, { softcap: 30 })
      return { run, wanted: [loss, ...tape.gradients(run, loss, dloss, [x, w]).map((gradient) => gradient!)] }
    }

    test("holds a few blocks of logits at once, for 512 tokens as for 8", async () => {
      const device = await openTestDevice({ limits: "default" })
      const w = device.matrix("weights", [V, C], "bf16")
      for (const T of [8, 512]) {
        const [x, targets, dloss] = [
          tensor(device, [T, C], uniform(T * C, 1)),
          device.tensor("weights", [T], "u32"),
          device.tensor("weights", [T]),
        ]
        const { run, wanted } = record(device, x, w, targets, dloss)
        for (const each of wanted)
          for (const part of "parts" in each ? each.parts.map((part) => part.tensor) : [each]) run.keep(part)
        const pool = new ScratchPool(device)
        const plan = run.plan(pool)
        const kept = V * C * 4 // the weight's gradient, which is wanted as a whole
        expect(device.memory.scratch).toBeLessThan(kept + 2 * 16 * 2 ** 20 + 2 ** 20)
        plan.dispose()
        pool.dispose()
      }
      device.dispose()
    })

    test("is the definition's", async () => {
      const T = 33
      const block = weights(2 ** 16, 1, "bf16")
      const stored = new Uint16Array(V * C)
      const values = new Float64Array(V * C)
      for (let i = 0; i < V * C; i++) {
        // The same numbers again and again, each time rotated, so that rows differ.
        const from = (i + Math.floor(i / 2 ** 16) * 67) % 2 ** 16
        stored[i] = (block.stored as Uint16Array)[from]!
        values[i] = block.values[from]!
      }
      const x = uniform(T * C, 2, 1.5)
      const next = random(3)
      const targets = Uint32Array.from({ length: T }, () => Math.floor(next() * V))
      const scored = [7, 32]
      const dloss = Float32Array.from({ length: T }, (_, t) => (scored.includes(t) ? t / 10 : 0))

      const device = await openTestDevice({ limits: "default" })
      const w = matrix(device, [V, C], { dtype: "bf16", stored, values })
      const [input, ids, d] = [tensor(device, [T, C], x), tensor(device, [T], targets), tensor(device, [T], dloss)]
      const { run, wanted } = record(device, input, w, ids, d)
      const [loss, dx, dweight] = await readAll(device, run, wanted)

      const rows = (all: Float32Array) => Float32Array.from(scored.flatMap((t) => [...all.subarray(t * C, t * C + C)]))
      const [someX, someTargets] = [rows(x), scored.map((t) => targets[t]!)]
      const some = scored.map((t) => loss![t]!)
      const expectedLoss = reference.linearCrossEntropy(someX, values, someTargets, 30)
      expectClose(some, expectedLoss, { relative: 2e-6 }, { what: "linear ce large, loss" })
      const someDloss = scored.map((t) => dloss[t]!)
      const expected = reference.linearCrossEntropyBackward(someX, values, someTargets, someDloss, 30)
      expectClose(rows(dx!), expected.dx, { relative: 1e-5 }, { what: "linear ce large, dx" })
      expectClose(dweight!, expected.dweight, { absolute: 2e-6 }, { what: "linear ce large, dweight" })
      device.dispose()
    })
  })

  test("refuses a table of another width and targets of another length or type", () => {
    const run = new Run(device())
    const w = matrix(device(), [4, 8], weights(32, 1, "f32"))
    const options = { softcap: null }
    expect(() => linearCrossEntropy(run, run.empty([2, 12]), w, run.empty([2], "u32"), options)).toThrow(
      new RangeError("linearCrossEntropy: weight is [4, 8], expected [4, 12]"),
    )
    expect(() => linearCrossEntropy(run, run.empty([2, 8]), w, run.empty([3], "u32"), options)).toThrow(
      new RangeError("linearCrossEntropy: targets is [3], expected [2]"),
    )
    expect(() => linearCrossEntropy(run, run.empty([2, 8]), w, run.empty([2]), options)).toThrow(
      new TypeError("linearCrossEntropy: targets is f32, expected u32"),
    )
  })
})
