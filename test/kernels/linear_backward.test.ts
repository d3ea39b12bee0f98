import { describe, expect, test } from "vitest"
import { linear, linearBackwardInput, linearBackwardWeight } from "../../src/kernels/linear.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { openTestDevice } from "../helpers/device.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import { free, matrix, SUBGROUPS, tensor, testDevice, uniform, WEIGHT_DTYPES, weights } from "../helpers/kernels.ts"
import * as reference from "../reference/linear.ts"

describe.each(SUBGROUPS)("linear, backward, subgroups $subgroups", ({ subgroups }) => {
  const device = testDevice({ subgroups })

  // The variants with subgroups are for many tokens and rows, these in fours.
  const [counts, sizes] =
    subgroups === "always"
      ? [[33], [36, 256]]
      : [
          [1, 5, 33],
          [1, 3, 33, 256],
        ]
  const shapes = counts.flatMap((T) => [4, 172, 640].flatMap((C) => sizes.map((N) => [T, C, N] as const)))

  test.each(shapes)(
    "is the slope of its definition for T = %i, C = %i, N = %i, weights in every type",
    async (T, C, N) => {
      const [x, dy] = [uniform(T * C, 1), uniform(T * N, 2)]
      const [input, output] = [tensor(device(), [T, C], x), tensor(device(), [T, N], dy)]
      for (const dtype of WEIGHT_DTYPES) {
        const weight = weights(N * C, 3, dtype)
        const w = matrix(device(), [N, C], weight)
        const [dx, dweight] = await gradients(device(), (run) => linear(run, input, w), output, [input, w])
        const what = `linear ${dtype} C ${C}`
        expectClose(
          dx!,
          reference.linearBackwardInput(dy, weight.values, C),
          { relative: 6e-6 },
          { what: `${what}, dx` },
        )
        expectClose(
          dweight!,
          reference.linearBackwardWeight(dy, x, C),
          { relative: 6e-6 },
          { what: `${what}, dweight` },
        )
        const ofX = { f: (x: Float64Array) => reference.linear(x, weight.values, C), x, dy }
        expectSlope(dx!, ofX, 1e-6, { what: `${what}, dx` })
        const ofWeight = { f: (weight: Float64Array) => reference.linear(x, weight, C), x: weight.values, dy }
        expectSlope(dweight!, ofWeight, 1e-6, { what: `${what}, dweight` })
        free(device(), w)
      }
      free(device(), input, output)
    },
  )

  test("stays within rounding over long sums", async () => {
    const [T, C, N] = [300, 24, 4096]
    const [x, dy, weight] = [uniform(T * C, 1), uniform(T * N, 2), weights(N * C, 3, "bf16")]
    const [input, output] = [tensor(device(), [T, C], x), tensor(device(), [T, N], dy)]
    const w = matrix(device(), [N, C], weight)
    const [dx, dweight] = await gradients(device(), (run) => linear(run, input, w), output, [input, w])
    const what = "linear long"
    expectClose(dx!, reference.linearBackwardInput(dy, weight.values, C), { relative: 2e-5 }, { what: `${what}, dx` })
    expectClose(dweight!, reference.linearBackwardWeight(dy, x, C), { relative: 6e-6 }, { what: `${what}, dweight` })
    free(device(), input, output, w)
  })

  test.each(WEIGHT_DTYPES)("adds up %s weights in parts, whatever parts their gradient has", async (dtype) => {
    const small = await openTestDevice({ limits: "default", subgroups })
    const [T, C, N] = subgroups === "always" ? [9, 12, 40] : [5, 12, 37]
    const [x, dy, weight] = [uniform(T * C, 1), uniform(T * N, 2), weights(N * C, 3, dtype)]
    const [input, output] = [tensor(small, [T, C], x), tensor(small, [T, N], dy)]
    const fours = [
      [8, 36],
      [36, 32],
      [20, 40],
    ] as const
    const ragged = [
      [1, 16],
      [5, 37],
      [8, 36],
      [36, 17],
    ] as const
    for (const [rows, gradientRows] of subgroups === "always" ? fours : ragged) {
      const w = matrix(small, [N, C], weight, rows)
      Object.assign(small, { maxBinding: gradientRows * C * 4 })
      const [dx, dweight] = await gradients(small, (run) => linear(run, input, w), output, [input, w])
      const what = `linear parts of ${rows}, ${gradientRows}`
      expectClose(dx!, reference.linearBackwardInput(dy, weight.values, C), { relative: 2e-6 }, { what: `${what}, dx` })
      expectClose(dweight!, reference.linearBackwardWeight(dy, x, C), { relative: 2e-6 }, { what: `${what}, dweight` })
    }
    small.dispose()
  })

  test("adds dx onto what is there, and puts dweight into the rows it is given alone", async () => {
    const small = await openTestDevice({ limits: "default", subgroups })
    const [T, C, N, V] = subgroups === "always" ? [19, 12, 12, 25] : [5, 12, 7, 20]
    const [x, dy, weight] = [uniform(T * C, 1), uniform(T * N, 2), weights(N * C, 3, "f32")]
    const [input, output] = [tensor(small, [T, C], x), tensor(small, [T, N], dy)]
    const w = matrix(small, [N, C], weight)
    const [before, rest] = [uniform(T * C, 4), uniform(V * C, 5)]
    const onto = tensor(small, [T, C], before)
    const dweight = matrix(small, [V, C], { dtype: "f32", stored: rest, values: rest }, 16)
    const run = new Run(small)
    linearBackwardInput(run, output, w, onto)
    linearBackwardWeight(run, output, input, { dweight, firstRow: 6, add: false })
    const [dx, all] = await readAll(small, run, [onto, dweight])
    const added = reference.linearBackwardInput(dy, weight.values, C).map((value, i) => value + before[i]!)
    expectClose(dx!, added, { relative: 2e-6 }, { what: "linear onto" })
    const expected = Float64Array.from(rest)
    expected.set(reference.linearBackwardWeight(dy, x, C), 6 * C)
    expectClose(all!, expected, { relative: 2e-6 }, { what: "linear into" })
    expect(all!.subarray(0, 6 * C)).toEqual(rest.subarray(0, 6 * C))
    expect(all!.subarray((6 + N) * C)).toEqual(rest.subarray((6 + N) * C))
    small.dispose()
  })

  test("refuses gradients of other shapes", () => {
    const run = new Run(device())
    const w = matrix(device(), [3, 8], weights(24, 1, "f32"))
    expect(() => linearBackwardInput(run, run.empty([2, 4]), w)).toThrow(
      new RangeError("linearBackwardInput: dy is [2, 4], expected [2, 3]"),
    )
    expect(() => linearBackwardWeight(run, run.empty([2, 4]), run.empty([3, 8]))).toThrow(
      new RangeError("linearBackwardWeight: dy is [2, 4], expected [3, 4]"),
    )
    const into = { dweight: w, firstRow: 2, add: false }
    expect(() => linearBackwardWeight(run, run.empty([2, 2]), run.empty([2, 8]), into)).toThrow(
      new RangeError("linearBackwardWeight: dweight is [3, 8], expected [4, 8]"),
    )
  })
})
