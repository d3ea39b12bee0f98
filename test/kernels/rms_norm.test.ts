import { describe, expect, test } from "vitest"
import { rmsNorm } from "../../src/kernels/rms_norm.ts"
import { Run } from "../../src/kernels/run.ts"
import { rms_norm } from "../../src/kernels/shaders.ts"
import { view } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, free, random, tensor, testDevice, uniform, WEIGHT_DTYPES, weights } from "../helpers/kernels.ts"
import * as reference from "../reference/rms_norm.ts"

describe("rmsNorm", () => {
  const device = testDevice()
  const options = { eps: 1e-6, offset: 1 }

  test.each([
    [1, 4],
    [5, 12],
    [33, 172],
    [1, 640],
    [3, 1152],
    [5, 2560],
    [132, 256], // heads, as q_norm sees them
  ])("equals its definition for [%i, %i], weights in every type", async (T, C) => {
    const x = uniform(T * C, 1, 3)
    const input = tensor(device(), [T, C], x)
    for (const dtype of WEIGHT_DTYPES) {
      const weight = weights(C, 2, dtype)
      const w = tensor(device(), [C], weight)
      const y = await compute(device(), (run) => rmsNorm(run, input, w, options))
      expectClose(y, reference.rmsNorm(x, weight.values, options), { relative: 1e-6 }, { what: `rmsNorm ${dtype}` })
      free(device(), w)
    }
  })

  test("takes offset 0 for weights stored as they are, and another eps", async () => {
    const x = uniform(3 * 64, 3, 0.01)
    const weight = weights(64, 4, "f32")
    const [input, w] = [tensor(device(), [3, 64], x), tensor(device(), [64], weight)]
    const llama = { eps: 1e-5, offset: 0 }
    const y = await compute(device(), (run) => rmsNorm(run, input, w, llama))
    expectClose(y, reference.rmsNorm(x, weight.values, llama), { relative: 1e-6 }, { what: "rmsNorm llama" })
  })

  test("stays finite for rows of zeros, of tiny and of large numbers", async () => {
    const C = 640
    const sizes = [0, 1e-12, 1e-3, 1e4, 1e9]
    const next = random(5)
    const x = Float32Array.from({ length: sizes.length * C }, (_, i) => (next() - 0.5) * sizes[Math.floor(i / C)]!)
    const weight = weights(C, 6, "bf16")
    const [input, w] = [tensor(device(), [sizes.length, C], x), tensor(device(), [C], weight)]
    const y = await compute(device(), (run) => rmsNorm(run, input, w, options))
    expectClose(y, reference.rmsNorm(x, weight.values, options), { relative: 1e-6 }, { what: "rmsNorm sizes" })
  })

  test("ignores workgroups past the last row", async () => {
    const [T, C] = [5, 12]
    const x = uniform(T * C, 7)
    const weight = weights(C, 8, "f32")
    const [input, w] = [tensor(device(), [T, C], x), tensor(device(), [C], weight)]
    const y = await compute(device(), (run) => {
      const result = run.empty([T, C])
      run.dispatch(rms_norm, { x: input, weight: w, y: result }, { T, C4: C / 4, ...options }, [4, 2])
      return result
    })
    expectClose(y, reference.rmsNorm(x, weight.values, options), { relative: 1e-6 }, { what: "rmsNorm rows" })
  })

  test("refuses a weight of another width", () => {
    const run = new Run(device())
    const x = run.empty([2, 8])
    expect(() => rmsNorm(run, x, run.empty([12]), options)).toThrow(
      new RangeError("rmsNorm: weight is [12], expected [8]"),
    )
    expect(() => rmsNorm(run, view(x, [16]), run.empty([16]), options)).toThrow(
      new RangeError("rmsNorm: x is [16], expected [T, C]"),
    )
    const ids = run.empty([8], "u32")
    expect(() => rmsNorm(run, x, ids, options)).toThrow(TypeError)
  })
})
