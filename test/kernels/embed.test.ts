import { describe, expect, test } from "vitest"
import { embed } from "../../src/kernels/embed.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, free, matrix, random, stand, tensor, testDevice, WEIGHT_DTYPES, weights } from "../helpers/kernels.ts"
import * as reference from "../reference/embed.ts"

describe("embed", () => {
  const device = testDevice()

  function ids(T: number, V: number): Uint32Array<ArrayBuffer> {
    const next = random(9)
    return Uint32Array.from({ length: T }, (_, t) => (t === 1 ? 0 : t === 2 ? V - 1 : Math.floor(next() * V)))
  }

  test.each([
    [1, 1, 4],
    [5, 3, 12],
    [33, 257, 172],
    [1, 1000, 640],
    [5, 300, 1152],
    [33, 300, 2560],
  ])("gathers %i rows of [%i, %i], weights in every type", async (T, V, C) => {
    const list = ids(T, V)
    const tokens = tensor(device(), [T], list)
    for (const dtype of WEIGHT_DTYPES) {
      const table = weights(V * C, 1, dtype)
      const w = matrix(device(), [V, C], table)
      const x = await compute(device(), (run) => embed(run, tokens, w, 25.25))
      expectClose(x, reference.embed(list, table.values, C, 25.25), { relative: 1e-7 }, { what: `embed ${dtype}` })
      free(device(), w)
    }
  })

  test.each([1, 4, 7, 12])("gathers from a table in parts of %i rows", async (rows) => {
    const [V, C] = [13, 12]
    const list = Uint32Array.from({ length: 40 }, (_, t) => (t * 5) % V)
    const table = weights(V * C, 2, "bf16")
    const w = matrix(device(), [V, C], table, rows)
    expect(w.parts.length).toBe(Math.ceil(V / rows))
    const tokens = tensor(device(), [40], list)
    const x = await compute(device(), (run) => embed(run, tokens, w, 1))
    expect(x).toEqual(Float32Array.from(reference.embed(list, table.values, C, 1)))
  })

  test.each(["bf16", "f16"] as const)("reads every %s number that is finite and normal", async (dtype) => {
    const [first, end] = dtype === "bf16" ? [0x80, 0x7f80] : [0x400, 0x7c00]
    const magnitudes = Uint16Array.from({ length: end - first }, (_, i) => first + i)
    const bits = Uint16Array.from([...magnitudes, ...magnitudes.map((x) => x | 0x8000)])
    const table = stand(bits, dtype)
    const w = matrix(device(), [bits.length / 128, 128], table)
    const all = Uint32Array.from({ length: bits.length / 128 }, (_, i) => i)
    const x = await compute(device(), (run) => embed(run, tensor(device(), [all.length], all), w, 1))
    expect(Buffer.compare(Buffer.from(x.buffer), Buffer.from(Float32Array.from(table.values).buffer))).toBe(0)
  })

  test("reads f16 subnormals, which are normal numbers of f32", async () => {
    const table = stand(
      Uint16Array.from({ length: 2048 }, (_, i) => (i < 1024 ? i : 0x8000 | (i - 1024))),
      "f16",
    )
    const w = matrix(device(), [2, 1024], table)
    const both = tensor(device(), [2], Uint32Array.of(0, 1))
    const x = await compute(device(), (run) => embed(run, both, w, 1))
    expectClose(x, table.values, { relative: 1e-7 }, { what: "embed f16 subnormals" })
  })

  test("refuses ids that are no u32 and rows that are not whole vec4s", () => {
    const run = new Run(device())
    const w = matrix(device(), [4, 8], weights(32, 1, "f32"))
    expect(() => embed(run, run.empty([2]), w, 1)).toThrow(new TypeError("embed: ids is f32, expected u32"))
    const odd = matrix(device(), [4, 6], weights(24, 1, "f32"))
    expect(() => embed(run, run.empty([2], "u32"), odd, 1)).toThrow(
      new RangeError("embed: weight has rows of 6, expected a multiple of 4"),
    )
  })
})
