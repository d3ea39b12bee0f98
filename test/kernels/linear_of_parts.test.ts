import { describe, expect, test } from "vitest"
import { type AttendedParts, attendParts } from "../../src/kernels/attend.ts"
import type { Device } from "../../src/kernels/device.ts"
import { linear, linearOfParts, readsParts } from "../../src/kernels/linear.ts"
import { quantize } from "../../src/kernels/quantize.ts"
import { Run } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Matrix } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { readAll } from "../helpers/gradients.ts"
import { compute, free, matrix, tensor, testDevice, uniform, WEIGHT_DTYPES, weights } from "../helpers/kernels.ts"
import * as attention from "../reference/attend.ts"
import * as product from "../reference/linear.ts"

const ROUNDED = ["q4", "q8"] as const
const VARIANTS = [
  { name: "shared by subgroups", options: { subgroups: "always" }, rounded: ROUNDED },
  { name: "each on its own", options: { subgroups: "never" }, rounded: ROUNDED },
  { name: "rows shared by 32", options: { subgroups: "never", tuning: { split: 32 } }, rounded: [] },
] as const

describe.each(VARIANTS)("linearOfParts, $name", ({ options, rounded: dtypes }) => {
  const device = testDevice(options)

  async function rounded(device: Device, [N, C]: readonly [number, number], dtype: "q4" | "q8"): Promise<Matrix> {
    const from = matrix(device, [N, C], weights(N * C, 5, "f32"))
    const into = device.matrix("weights", [N, C], dtype)
    const matters = tensor(device, [C], new Float32Array(C).fill(1))
    const run = new Run(device)
    quantize(run, from, into, matters)
    await readAll(device, run, [into.parts[0]!.tensor])
    free(device, from, matters)
    return into
  }

  test.each([
    { H: 4, G: 1, D: 256, window: 512, capacity: 512, position: 1700 },
    { H: 4, G: 1, D: 256, window: 0, capacity: 2048, position: 300 }, // five of eight parts have no key
    { H: 8, G: 4, D: 64, window: 0, capacity: 1100, position: 1099 },
    { H: 6, G: 2, D: 12, window: 700, capacity: 900, position: 899 },
    { H: 4, G: 2, D: 8, window: 0, capacity: 300, position: 0 },
    { H: 4, G: 2, D: 8, window: 40, capacity: 40, position: 77 }, // one part
  ])("is attention and a product behind it: $H heads of $D, window $window, position $position", async (shape) => {
    const { H, G, D, window, capacity, position } = shape
    const [N, C] = [37, H * D]
    const [q, k, v] = [uniform(C, 1), uniform((position + 1) * G * D, 2), uniform((position + 1) * G * D, 3)]
    const settings = { window, scale: D ** -0.5, softcap: 0 }
    const a = attention.attend(q, k, v, { ...shape, ...settings })
    const slots = (x: Float32Array) => {
      const kept = new Float32Array(capacity * G * D).fill(Number.NaN)
      for (let s = Math.max(0, position + 1 - capacity); s <= position; s++) {
        kept.set(x.subarray(s * G * D, (s + 1) * G * D), (s % capacity) * G * D)
      }
      return tensor(device(), [capacity, G, D], kept)
    }
    const [queries, cache] = [tensor(device(), [1, H, D], q), { k: slots(k), v: slots(v) }]
    const cursor = tensor(device(), [2], Uint32Array.of(position, 0))
    for (const dtype of WEIGHT_DTYPES) {
      const weight = weights(N * C, 4, dtype)
      const w = matrix(device(), [N, C], weight)
      const y = await compute(device(), (run) => {
        expect(readsParts(run, 1, w)).toBe(true)
        const parts = attendParts(run, queries, cache, cursor, settings)
        expect(parts.y.shape[0]! > 1).toBe(capacity > 256)
        return linearOfParts(run, parts, w)
      })
      const expected = product.linear(a, weight.values, C)
      expectClose(y, expected, { absolute: 4e-7 * C }, { what: `linearOfParts ${dtype} C ${C}` })
      free(device(), w)
    }
    free(device(), queries, cache.k, cache.v, cursor)
  })

  // Nothing, or one, is added to what there is, so all is to the bit what the product alone gives.
  test.each(["f32", "bf16", ...dtypes] as const)("takes nothing from a part without keys, %s", async (dtype) => {
    const [H, D, N] = [4, 40, 70]
    const C = H * D
    const quantized = dtype === "q4" || dtype === "q8"
    const w = quantized ? await rounded(device(), [N, C], dtype) : matrix(device(), [N, C], weights(N * C, 4, dtype))
    const x = uniform(C, 6)
    const [input, nothing] = [tensor(device(), [1, C], x), new Float32Array(C).fill(Number.NaN)]
    const lse = [new Float32Array(H).fill(-3e38), uniform(H, 7, 9)]
    const expected = await compute(device(), (run) => linear(run, input, w))
    for (const order of [
      [0, 1],
      [1, 0],
      [0, 1, 0],
    ]) {
      const rows = order.map((i) => [[nothing, x], lse].map((each) => Array.from(each[i]!)))
      const part = (i: number) => Float32Array.from(rows.flatMap((row) => row[i]!))
      const parts: AttendedParts = {
        y: tensor(device(), [order.length, 1, H, D], part(0)),
        lse: tensor(device(), [order.length, 1, H], part(1)),
      }
      const y = await compute(device(), (run) => linearOfParts(run, parts, w))
      expect([...y], `${dtype}, parts ${order}`).toEqual([...expected])
      free(device(), parts.y, parts.lse)
    }
    free(device(), input, w)
  })

  test.each(dtypes)("weighs parts before tokens are rounded, %s", async (dtype) => {
    const [T, H, D, N] = [3, 2, 64, 40]
    const C = H * D
    const w = await rounded(device(), [N, C], dtype)
    const [first, second] = [uniform(T * C, 8), uniform(T * C, 9)]
    const lse = uniform(2 * T * H, 10, 3)
    const x = Float32Array.from(first, (value, i) => {
      const head = Math.floor(i / D)
      const share = 1 / (1 + Math.exp(lse[T * H + head]! - lse[head]!))
      return share * value + (1 - share) * second[i]!
    })
    const [input, parts] = [
      tensor(device(), [T, C], x),
      {
        y: tensor(device(), [2, T, H, D], Float32Array.from([...first, ...second])),
        lse: tensor(device(), [2, T, H], lse),
      },
    ]
    const expected = await compute(device(), (run) => linear(run, input, w))
    const y = await compute(device(), (run) => linearOfParts(run, parts, w))
    // The last bit of a share may move a code by one: 1 / 127 of a block's largest, times a weight.
    expectClose(y, expected, { absolute: 0.02 }, { what: `linearOfParts ${dtype}` })
    free(device(), input, parts.y, parts.lse, w)
  })

  test("is not for tapes, for several tokens in full, or for one that a workgroup cannot hold", () => {
    const run = new Run(device())
    const [w, wide] = [device().matrix("weights", [4, 64], "f32"), device().matrix("weights", [4, 4096], "f32")]
    expect(readsParts(run, 1, w)).toBe(true)
    expect(readsParts(run, 2, w)).toBe(false)
    expect(readsParts(run, 1, wide)).toBe(false)
    expect(readsParts(new Run(device(), new Tape()), 1, w)).toBe(false)
    const parts = { y: run.empty([2, 1, 4, 8]), lse: run.empty([2, 1, 4]) }
    expect(() => linearOfParts(run, parts, w)).toThrow(
      new RangeError("linearOfParts: weight is [4, 64], expected [4, 32]"),
    )
    free(device(), w, wide)
  })
})
