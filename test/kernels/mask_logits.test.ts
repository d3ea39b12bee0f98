import { describe, expect, test } from "vitest"
import { maskLogits } from "../../src/kernels/mask_logits.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, free, random, tensor, testDevice, uniform } from "../helpers/kernels.ts"

describe("maskLogits", () => {
  const device = testDevice()

  test.each([
    [1, 1],
    [1, 31],
    [3, 32],
    [2, 33],
    [5, 96],
    [4, 4097],
    [1, 262_144],
  ])("leaves what is allowed of %i rows of %i logits as it is", async (n, V) => {
    const logits = uniform(n * V, V, 5)
    const next = random(V)
    const W = Math.ceil(V / 32)
    const words = Uint32Array.from({ length: (n + 1) * W }, () => next() * 2 ** 32)
    const [x, mask] = [tensor(device(), [n, V], logits), tensor(device(), [n + 1, W], words)]
    const masked = await compute(device(), (run) => maskLogits(run, x, mask))
    const allowed = (b: number, v: number) => Math.floor(words[b * W + Math.floor(v / 32)]! / 2 ** (v % 32)) % 2 === 1
    const expected = logits.map((l, i) => (allowed(Math.floor(i / V), i % V) ? l : -3e38))
    expectClose(masked, expected, {}, { what: `maskLogits of ${n} by ${V}` })
    free(device(), x, mask)
  })

  test("refuses a mask of another shape or type", () => {
    const run = new Run(device())
    const logits = run.empty([2, 65])
    expect(() => maskLogits(run, logits, run.empty([2, 2], "u32"))).toThrow(
      new RangeError("maskLogits: mask is [2, 2], expected at least 2 rows of 3"),
    )
    expect(() => maskLogits(run, logits, run.empty([1, 3], "u32"))).toThrow(
      new RangeError("maskLogits: mask is [1, 3], expected at least 2 rows of 3"),
    )
    expect(() => maskLogits(run, logits, run.empty([6], "u32"))).toThrow(
      new RangeError("maskLogits: mask is [6], expected two dimensions"),
    )
    expect(() => maskLogits(run, logits, run.empty([2, 3]))).toThrow(
      new TypeError("maskLogits: mask is f32, expected u32"),
    )
  })
})
