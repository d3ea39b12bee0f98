import { describe, expect, test } from "vitest"
import { rmsNorm, rmsNormBackward } from "../../src/kernels/rms_norm.ts"
import { Run } from "../../src/kernels/run.ts"
import { rms_norm } from "../../src/kernels/shaders.ts"
import { view } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import {
  compute,
  free,
  random,
  repeat,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  weights,
} from "../helpers/kernels.ts"
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

describe("rmsNorm, backward", () => {
  const device = testDevice()
  const gemma = { eps: 1e-6, offset: 1 }

  test.each([
    [1, 4],
    [5, 12],
    [33, 172],
    [1, 640],
    [3, 1152],
    [132, 256], // heads, as q_norm sees them
    [1030, 36],
  ])("is the slope of its definition for [%i, %i], weights in every type", async (T, C) => {
    const [x, dy] = [uniform(T * C, 1, 3), uniform(T * C, 3)]
    const [input, output] = [tensor(device(), [T, C], x), tensor(device(), [T, C], dy)]
    for (const dtype of WEIGHT_DTYPES) {
      const options = dtype === "f16" ? { eps: 1e-5, offset: 0 } : gemma
      const weight = weights(C, 2, dtype)
      const w = tensor(device(), [C], weight)
      const [dx, dweight] = await gradients(device(), (run) => rmsNorm(run, input, w, options), output, [input, w])
      const expected = reference.rmsNormBackward(x, weight.values, dy, options)
      const what = `rmsNorm ${dtype} [${T}, ${C}]`
      expectClose(dx!, expected.dx, { relative: 2e-6 }, { what: `${what}, dx` })
      expectClose(dweight!, expected.dweight, { relative: 2e-6 }, { what: `${what}, dweight` })
      const byX = { f: (x: Float64Array) => reference.rmsNorm(x, weight.values, options), x, dy }
      const byWeight = { f: (w: Float64Array) => reference.rmsNorm(x, w, options), x: weight.values, dy }
      expectSlope(dx!, byX, 1e-6, { what: `${what}, dx` })
      expectSlope(dweight!, byWeight, 1e-6, { what: `${what}, dweight` })
      free(device(), w)
    }
    free(device(), input, output)
  })

  test("leaves no row out where there are more than one dimension of workgroups has", async () => {
    const [T, C, period] = [70_000, 4, 63]
    const [x, weight] = [uniform(period * C, 1, 3), weights(C, 2, "f32")]
    const [input, w] = [tensor(device(), [T, C], repeat(x, T * C)), tensor(device(), [C], weight)]
    const [dx, dweight] = await gradients(device(), (run) => rmsNorm(run, input, w, gemma), input, [input, w])
    const expected = reference.rmsNormBackward(x, weight.values, x, gemma)
    const block = dx!.slice(0, period * C)
    expectClose(block, expected.dx, { relative: 2e-6 }, { what: "rmsNorm block dx" })
    expect(Buffer.compare(Buffer.from(dx!.buffer), Buffer.from(repeat(block, T * C).buffer))).toBe(0)
    const all = reference.rmsNormBackward(repeat(x, T * C), weight.values, repeat(x, T * C), gemma)
    expectClose(dweight!, all.dweight, { relative: 1e-5 }, { what: "rmsNorm dweight of 70000 rows" })
  })

  test("stays finite and right for rows of zeros, of tiny and of large numbers", async () => {
    const C = 640
    const sizes = [0, 1e-12, 1e-3, 1, 1e4, 1e9]
    const next = random(5)
    const x = Float32Array.from({ length: sizes.length * C }, (_, i) => (next() - 0.5) * sizes[Math.floor(i / C)]!)
    const dy = uniform(x.length, 6)
    const weight = weights(C, 7, "bf16")
    const shape = [sizes.length, C]
    const [input, output, w] = [tensor(device(), shape, x), tensor(device(), shape, dy), tensor(device(), [C], weight)]
    const [dx, dweight] = await gradients(device(), (run) => rmsNorm(run, input, w, gemma), output, [input, w])
    const expected = reference.rmsNormBackward(x, weight.values, dy, gemma)
    for (const [row, size] of sizes.entries()) {
      const [actual, definition] = [dx!, expected.dx].map((all) => all.subarray(row * C, (row + 1) * C))
      expectClose(actual!, definition!, { relative: 2e-6 }, { what: `rmsNorm dx of size ${size}` })
    }
    expectClose(dweight!, expected.dweight, { relative: 2e-6 }, { what: "rmsNorm dweight of sizes" })
  })

  test("refuses dy of another shape", () => {
    const run = new Run(device())
    const [x, weight] = [run.empty([2, 8]), run.empty([8])]
    expect(() => rmsNormBackward(run, x, weight, run.empty([3, 8]), gemma)).toThrow(
      new RangeError("rmsNormBackward: dy is [3, 8], expected [2, 8]"),
    )
  })
})
