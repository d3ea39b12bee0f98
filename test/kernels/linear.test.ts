import { describe, expect, test } from "vitest"
import { embed } from "../../src/kernels/embed.ts"
import { linear } from "../../src/kernels/linear.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { openTestDevice } from "../helpers/device.ts"
import {
  compute,
  free,
  matrix,
  stand,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  weights,
} from "../helpers/kernels.ts"
import * as reference from "../reference/linear.ts"
import { bf16 } from "../reference/weights.ts"

/**
 * The kernels that there are for a product, with the tokens that they take. Those by which rows are shared are slow to compile where
 * there is no GPU, and so not held to every type and a model's widths.
 */
const VARIANTS = [
  { variant: "subgroups", options: { subgroups: "always" }, counts: [2, 3, 5, 8, 17, 33, 128], dtypes: WEIGHT_DTYPES },
  {
    variant: "no subgroups",
    options: { subgroups: "never" },
    counts: [1, 2, 3, 5, 17, 33, 128],
    dtypes: WEIGHT_DTYPES,
  },
  {
    variant: "rows shared by 8",
    options: { subgroups: "never", tuning: { split: 8 } },
    counts: [1, 3],
    dtypes: ["bf16"],
  },
  {
    variant: "rows shared by 32",
    options: { subgroups: "never", tuning: { split: 32 } },
    counts: [1, 2, 8],
    dtypes: ["f16"],
  },
] as const

describe.each(VARIANTS)("linear, $variant", ({ options, counts, dtypes }) => {
  const device = testDevice(options)
  const shapes = [
    [1, 4, 1],
    [1, 4, 3],
    [1, 12, 33],
    [1, 172, 130],
    [2, 4, 1],
    [2, 172, 33],
    [5, 12, 3],
    [8, 20, 129],
    [17, 20, 129],
    [33, 172, 33],
    [1, 640, 2048],
    [1, 2048, 640],
    [1, 1152, 257],
    [1, 2560, 130],
    [5, 640, 2048],
    [33, 2048, 64],
    [3, 1152, 257],
    [8, 2560, 65],
    [33, 2560, 65],
    [128, 640, 40],
  ] as const
  const largest = dtypes.length > 1 ? Number.POSITIVE_INFINITY : 400_000
  const tokens = (...all: number[]) => all.filter((T) => (counts as readonly number[]).includes(T))

  test.each(shapes.filter(([T, C, N]) => tokens(T).length > 0 && C * N <= largest))(
    "equals x weight^T for T = %i, C = %i, N = %i, weights in every type",
    async (T, C, N) => {
      const x = uniform(T * C, 1)
      const input = tensor(device(), [T, C], x)
      for (const dtype of dtypes) {
        const weight = weights(N * C, 2, dtype)
        const w = matrix(device(), [N, C], weight)
        const y = await compute(device(), (run) => linear(run, input, w))
        expectClose(y, reference.linear(x, weight.values, C), { relative: 6e-6 }, { what: `linear ${dtype} C ${C}` })
        free(device(), w)
      }
      free(device(), input)
    },
  )

  test.each(tokens(1, 3, 5))("multiplies a matrix in parts, each into its own columns (T = %i)", async (T) => {
    const [C, N] = [12, 37]
    const x = uniform(T * C, 3)
    const weight = weights(N * C, 4, dtypes[0])
    const input = tensor(device(), [T, C], x)
    for (const rows of [1, 5, 8, 33, 36]) {
      const w = matrix(device(), [N, C], weight, rows)
      const y = await compute(device(), (run) => linear(run, input, w))
      expectClose(y, reference.linear(x, weight.values, C), { relative: 6e-6 }, { what: `linear parts of ${rows}` })
      free(device(), w)
    }
  })

  test.each(dtypes.includes("f16" as never) ? tokens(1, 3, 8) : [])(
    "takes f16 weights from the smallest to the largest (T = %i)",
    async (T) => {
      const C = 64
      const bits = Uint16Array.from({ length: 4 * C }, (_, i) => {
        const row = Math.floor(i / C)
        const sign = (i & 1) << 15
        if (row === 0) return sign | (i * 16 + 1) // subnormals
        if (row === 1) return sign | (0x7bff - i) // up to 65504
        return sign | ((i * 97) % 0x7c00)
      })
      const weight = stand(bits, "f16")
      const x = uniform(T * C, 5)
      const [input, w] = [tensor(device(), [T, C], x), matrix(device(), [4, C], weight)]
      const y = await compute(device(), (run) => linear(run, input, w))
      const expected = reference.linear(x, weight.values, C)
      for (let row = 0; row < 4; row++) {
        const column = (all: ArrayLike<number>) => Array.from(all).filter((_, i) => i % 4 === row)
        expectClose(column(y), column(expected), { relative: 6e-6 }, { what: `linear f16 row ${row}` })
      }
    },
  )
})

describe("linear", () => {
  const device = testDevice()

  test("multiplies and gathers a table that no single binding can hold", async () => {
    const [V, C] = [262_144, 320] // 160 MiB in bf16, where a binding has 128
    const bits = new Uint32Array((V * C) / 2)
    let state = 1
    for (let i = 0; i < bits.length; i++) {
      state = Math.imul(state, 1664525) + 1013904223
      bits[i] = (state & 0x81ff81ff) | 0x3e003e00 // magnitudes from 1/8 to 1/2, either sign
    }
    const stored = new Uint16Array(bits.buffer)
    const w = matrix(device(), [V, C], { dtype: "bf16", stored, values: new Float32Array(0) })
    expect(w.parts.map((part) => part.rows)).toEqual([209_715, 52_429])

    const values = Float64Array.from({ length: 2 ** 16 }, (_, i) => bf16(i))
    const x = uniform(2 * C, 6)
    const expected = new Float64Array(2 * V)
    for (let n = 0; n < V; n++) {
      for (let c = 0; c < C; c++) {
        const weight = values[stored[n * C + c]!]!
        expected[n]! += x[c]! * weight
        expected[V + n]! += x[C + c]! * weight
      }
    }
    const both = tensor(device(), [2, C], x)
    const first = tensor(device(), [1, C], x.slice(0, C))
    const tiled = await compute(device(), (run) => linear(run, both, w))
    expectClose(tiled, expected, { relative: 6e-6 }, { what: "linear large T 2" })
    const vector = await compute(device(), (run) => linear(run, first, w))
    expectClose(vector, expected.subarray(0, V), { relative: 6e-6 }, { what: "linear large T 1" })

    const list = Uint32Array.of(0, 209_714, 209_715, 262_143, 131_072)
    const ids = tensor(device(), [list.length], list)
    const rows = await compute(device(), (run) => embed(run, ids, w, 1))
    const gathered = [...list].flatMap((id) => Array.from(stored.subarray(id * C, (id + 1) * C), bf16))
    expect(rows).toEqual(Float32Array.from(gathered))
    free(device(), w)
  })

  test("shares rows among fewer where more would be too many workgroups", async () => {
    const shared = await openTestDevice({ limits: "default", tuning: { split: 32 } })
    const [C, N] = [4, 530_000] // 65,535 workgroups share 524,280 rows by 32
    const [x, weight] = [uniform(C, 1), weights(N * C, 2, "f32")]
    const [input, w] = [tensor(shared, [1, C], x), matrix(shared, [N, C], weight)]
    const y = await compute(shared, (run) => linear(run, input, w))
    expectClose(y, reference.linear(x, weight.values, C), { relative: 6e-6 }, { what: "linear of many rows" })
    shared.dispose()
  })

  test("refuses a matrix of another width", () => {
    const run = new Run(device())
    const w = matrix(device(), [4, 8], weights(32, 1, "f32"))
    expect(() => linear(run, run.empty([2, 12]), w)).toThrow(
      new RangeError("linear: weight is [4, 8], expected [4, 12]"),
    )
    expect(() => linear(run, run.empty([8]), w)).toThrow(new RangeError("linear: x is [8], expected [T, C]"))
  })
})
