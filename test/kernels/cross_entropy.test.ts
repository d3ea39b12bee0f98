import { describe, expect, test } from "vitest"
import { crossEntropy, IGNORED } from "../../src/kernels/cross_entropy.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, free, random, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/cross_entropy.ts"

describe("crossEntropy", () => {
  const device = testDevice()

  async function loss(logits: Float32Array<ArrayBuffer>, targets: readonly number[]): Promise<Float32Array> {
    const T = targets.length
    const x = tensor(device(), [T, logits.length / T], logits)
    const ids = tensor(device(), [T], Uint32Array.from(targets))
    return compute(device(), (run) => crossEntropy(run, x, ids))
  }

  test.each([
    [1, 1],
    [1, 4],
    [5, 33],
    [33, 257],
    [7, 32_000],
    [2, 262_144],
  ])("equals its definition for [%i, %i]", async (T, V) => {
    const logits = uniform(T * V, 1, 12)
    const next = random(2)
    const targets = Array.from({ length: T }, () => Math.floor(next() * V))
    const expected = reference.crossEntropy(logits, targets, V)
    expectClose(await loss(logits, targets), expected, { absolute: 1e-6, relative: 2e-6 }, { what: `ce ${V}` })
  })

  test("takes the first and the last token of the vocabulary as targets", async () => {
    const logits = uniform(2 * 100, 3, 5)
    const expected = reference.crossEntropy(logits, [0, 99], 100)
    expectClose(await loss(logits, [0, 99]), expected, { relative: 2e-6 }, { what: "ce ends" })
  })

  test.each([1e5, -1e5, 1e30, -1e30])("does not move when every logit does, by %f", async (shift) => {
    const logits = uniform(3 * 64, 4, 8).map((x) => Math.round(x) + shift)
    const expected = reference.crossEntropy(logits, [1, 2, 3], 64)
    expectClose(await loss(logits, [1, 2, 3]), expected, { relative: 2e-6 }, { what: `ce at ${shift}` })
  })

  test("is right where one logit outweighs all, and for -inf elsewhere", async () => {
    const logits = new Float32Array(2 * 40).fill(-1e4)
    logits[7] = 1e4
    logits.fill(Number.NEGATIVE_INFINITY, 40)
    logits[40 + 5] = 2
    logits[40 + 6] = 2
    const expected = reference.crossEntropy(logits, [8, 5], 40)
    expectClose(await loss(logits, [8, 5]), expected, { relative: 1e-6 }, { what: "ce outweighed" })
  })

  test("is 0 where the target is ignored, whatever the logits", async () => {
    const logits = uniform(4 * 100, 6, 5)
    logits.fill(Number.NaN, 100, 200)
    const targets = [3, IGNORED, 99, IGNORED]
    const expected = reference.crossEntropy(logits, targets, 100)
    expect([expected[1], expected[3]]).toEqual([0, 0])
    expectClose(await loss(logits, targets), expected, { relative: 2e-6 }, { what: "ce ignored" })
  })

  test("refuses targets of another length or type", () => {
    const run = new Run(device())
    const logits = run.empty([3, 8])
    expect(() => crossEntropy(run, logits, run.empty([2], "u32"))).toThrow(
      new RangeError("crossEntropy: targets is [2], expected [3]"),
    )
    expect(() => crossEntropy(run, logits, run.empty([3]))).toThrow(
      new TypeError("crossEntropy: targets is f32, expected u32"),
    )
    expect(() => crossEntropy(run, run.empty([8]), run.empty([3], "u32"))).toThrow(
      new RangeError("crossEntropy: logits is [8], expected [T, V]"),
    )
  })
})

describe("crossEntropy, backward", () => {
  const device = testDevice()

  async function gradient(
    logits: Float32Array<ArrayBuffer>,
    targets: readonly number[],
    dloss: Float32Array<ArrayBuffer>,
  ): Promise<Float32Array> {
    const T = targets.length
    const x = tensor(device(), [T, logits.length / T], logits)
    const ids = tensor(device(), [T], Uint32Array.from(targets))
    const d = tensor(device(), [T], dloss)
    const [dlogits] = await gradients(device(), (run) => crossEntropy(run, x, ids), d, [x])
    free(device(), x, ids, d)
    return dlogits!
  }

  test.each([
    [1, 1],
    [1, 4],
    [5, 33],
    [33, 257],
    [7, 32_000],
    [2, 262_144],
  ])("is the slope of its definition for [%i, %i]", async (T, V) => {
    const [logits, dloss] = [uniform(T * V, 1, 12), uniform(T, 2)]
    const next = random(3)
    const targets = Array.from({ length: T }, (_, t) => (t % 4 === 3 ? IGNORED : Math.floor(next() * V)))
    const dlogits = await gradient(logits, targets, dloss)
    const expected = reference.crossEntropyBackward(logits, targets, dloss, V)
    expectClose(dlogits, expected, { absolute: 1e-6 }, { what: `ce ${V}, dlogits` })
    const f = (logits: Float64Array) => reference.crossEntropy(logits, targets, V)
    expectSlope(dlogits, { f, x: logits, dy: dloss }, 5e-6, { what: `ce ${V}, dlogits` })
    if (T > 3) expect(dlogits.subarray(3 * V, 4 * V).every((value) => value === 0)).toBe(true)
  })

  test("is 0 where the target is ignored, even among NaN, and for -inf", async () => {
    const logits = new Float32Array(3 * 40).fill(Number.NaN, 0, 40).fill(Number.NEGATIVE_INFINITY, 40)
    for (const i of [45, 46, 85, 86]) logits[i] = 2
    const dlogits = await gradient(logits, [IGNORED, 5, 6], Float32Array.of(1, 1, -2))
    const expected = new Float32Array(120)
    expected.set([-0.5, 0.5], 45)
    expected.set([-1, 1], 85)
    expectClose(dlogits, expected, { absolute: 1e-6 }, { what: "ce at -inf, dlogits" })
  })

  test("sums to 0 and is right where one logit outweighs all", async () => {
    const logits = new Float32Array(2 * 40).fill(-1e4)
    logits[7] = 1e4
    logits[47] = 1e4
    const dlogits = await gradient(logits, [7, 8], Float32Array.of(3, 3))
    const expected = new Float32Array(80)
    expected[47] = 3
    expected[48] = -3
    expect(dlogits).toEqual(expected)
  })
})
