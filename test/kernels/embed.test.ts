import { describe, expect, test } from "vitest"
import { add } from "../../src/kernels/add.ts"
import { embed, embedBackward } from "../../src/kernels/embed.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { openTestDevice } from "../helpers/device.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  random,
  stand,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  weights,
} from "../helpers/kernels.ts"
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

  test.each([1, 4, 5, 7, 12])("gathers from a table in parts of %i rows, three in a dispatch", async (rows) => {
    const [V, C] = [13, 12]
    const list = Uint32Array.from({ length: 40 }, (_, t) => (t * 5) % V)
    const table = weights(V * C, 2, "bf16")
    const w = matrix(device(), [V, C], table, rows)
    expect(w.parts.length).toBe(Math.ceil(V / rows))
    const tokens = tensor(device(), [40], list)
    const x = await compute(device(), (run) => embed(run, tokens, w, 1))
    expect(x).toEqual(Float32Array.from(reference.embed(list, table.values, C, 1)))
    const run = new Run(device())
    run.keep(embed(run, tokens, w, 1))
    const plan = run.plan(new ScratchPool(device()))
    expect(plan.dispatches).toBe(Math.ceil(w.parts.length / 3))
    plan.dispose()
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

describe("embed, backward", () => {
  const device = testDevice()

  function ids(T: number, V: number, seed: number): Uint32Array<ArrayBuffer> {
    const next = random(seed)
    return Uint32Array.from({ length: T }, (_, t) => (t === 1 ? 0 : t === 2 ? V - 1 : Math.floor(next() * V)))
  }

  test.each([
    [1, 1, 4],
    [5, 3, 36],
    [33, 257, 172],
    [70, 40, 640],
    [5, 300, 1152],
    [130, 1, 12], // one id, over and over
    [1000, 50, 12],
  ])("is the slope of its definition: %i rows of [%i, %i]", async (T, V, C) => {
    const list = ids(T, V, 9)
    const dy = uniform(T * C, 2)
    const [tokens, output] = [tensor(device(), [T], list), tensor(device(), [T, C], dy)]
    for (const dtype of WEIGHT_DTYPES) {
      const table = weights(V * C, 1, dtype)
      const w = matrix(device(), [V, C], table, Math.ceil(V / 2)) // its parts need not be the gradient's
      const [dweight] = await gradients(device(), (run) => embed(run, tokens, w, 25.25), output, [w])
      const expected = reference.embedBackward(list, dy, [V, C], 25.25)
      const what = `embed ${dtype} ${T} of [${V}, ${C}], dweight`
      expectClose(dweight!, expected, { relative: 2e-6 }, { what })
      const f = (weight: Float64Array) => reference.embed(list, weight, C, 25.25)
      expectSlope(dweight!, { f, x: table.values, dy }, 1e-6, { what })
      free(device(), w)
    }
  })

  test("is 0 to the bit in the rows of ids that do not occur, in memory used before too", async () => {
    const [T, V, C] = [64, 64, 64]
    const tokens = tensor(device(), [T], new Uint32Array(T))
    const zeros = tensor(device(), [V, C], new Float32Array(V * C))
    const dy = uniform(T * C, 3)
    const run = new Run(device())
    const pool = new ScratchPool(device())
    const gradient = embedBackward(run, tokens, tensor(device(), [T, C], dy), V, 1)
    const y = run.keep(add(run, gradient.parts[0]!.tensor, zeros))
    const plan = run.plan(pool)
    for (const id of [(t: number) => t, () => 5, (t: number) => t | 1]) {
      const list = Uint32Array.from({ length: T }, (_, t) => id(t)) // every row, then one, then every other
      device().write(tokens, list)
      plan.submit()
      const data = new Float32Array(await device().read(y))
      const expected = reference.embedBackward(list, dy, [V, C], 1)
      expectClose(data, expected, { relative: 1e-5 }, { what: "embed rows" }) // of a rms that zeros make small
      for (let v = 0; v < V; v++) {
        if (!list.includes(v)) expect(data.subarray(v * C, (v + 1) * C).every((value) => value === 0)).toBe(true)
      }
    }
    plan.dispose()
    pool.dispose()
  })

  test("adds in the order of the tokens, so that it repeats to the bit", async () => {
    const [T, V, C] = [513, 3, 8]
    const list = ids(T, V, 4)
    const dy = uniform(T * C, 5)
    const expected = new Float32Array(V * C)
    for (let i = 0; i < dy.length; i++) {
      const at = list[Math.floor(i / C)]! * C + (i % C)
      expected[at] = Math.fround(expected[at]! + dy[i]!)
    }
    const [tokens, output] = [tensor(device(), [T], list), tensor(device(), [T, C], dy)]
    const data = await compute(device(), (run) => embedBackward(run, tokens, output, V, 1).parts[0]!.tensor)
    expect(data).toEqual(expected)
  })

  test.each([1, 7, 12, 13])("fills a gradient in parts of %i rows", async (rows) => {
    const small = await openTestDevice({ limits: "default" })
    const [T, V, C] = [20, 13, 64]
    const list = ids(T, V, 6)
    const dy = uniform(T * C, 7)
    const [tokens, output] = [tensor(small, [T], list), tensor(small, [T, C], dy)]
    Object.assign(small, { maxBinding: rows * C * 4 })
    const run = new Run(small)
    const dweight = embedBackward(run, tokens, output, V, 2)
    expect(dweight.parts).toHaveLength(Math.ceil(V / rows))
    const [data] = await readAll(small, run, [dweight])
    expectClose(data!, reference.embedBackward(list, dy, [V, C], 2), { relative: 1e-6 }, { what: "embed parts" })
    small.dispose()
  })

  test("refuses ids and gradients of different lengths", () => {
    const run = new Run(device())
    expect(() => embedBackward(run, run.empty([3], "u32"), run.empty([2, 8]), 4, 1)).toThrow(
      new RangeError("embedBackward: ids is [3], expected [2]"),
    )
    expect(() => embedBackward(run, run.empty([2]), run.empty([2, 8]), 4, 1)).toThrow(
      new TypeError("embedBackward: ids is f32, expected u32"),
    )
  })
})
