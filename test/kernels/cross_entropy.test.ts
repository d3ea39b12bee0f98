import { describe, expect, test } from "vitest"
import { crossEntropy } from "../../src/kernels/cross_entropy.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, random, tensor, testDevice, uniform } from "../helpers/kernels.ts"
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
