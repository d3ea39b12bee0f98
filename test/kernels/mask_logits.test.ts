import { describe, expect, test } from "vitest"
import { maskLogits } from "../../src/kernels/mask_logits.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, free, random, tensor, testDevice, uniform } from "../helpers/kernels.ts"

describe("maskLogits", () => {
  const device = testDevice()

  test.each([1, 31, 32, 33, 96, 4097, 262_144])("leaves what is allowed of %i logits as it is", async (V) => {
    const logits = uniform(V, V, 5)
    const next = random(V)
    const words = Uint32Array.from({ length: Math.ceil(V / 32) }, () => next() * 2 ** 32)
    const [x, mask] = [tensor(device(), [1, V], logits), tensor(device(), [words.length], words)]
    const masked = await compute(device(), (run) => maskLogits(run, x, mask))
    const allowed = (v: number) => Math.floor(words[Math.floor(v / 32)]! / 2 ** (v % 32)) % 2 === 1
    const expected = logits.map((l, v) => (allowed(v) ? l : -3e38))
    expectClose(masked, expected, {}, { what: `maskLogits of ${V}` })
    free(device(), x, mask)
  })

  test("refuses a mask of another length or type", () => {
    const run = new Run(device())
    const logits = run.empty([1, 65])
    expect(() => maskLogits(run, logits, run.empty([2], "u32"))).toThrow(
      new RangeError("maskLogits: mask is [2], expected [3]"),
    )
    expect(() => maskLogits(run, logits, run.empty([3]))).toThrow(
      new TypeError("maskLogits: mask is f32, expected u32"),
    )
  })
})
