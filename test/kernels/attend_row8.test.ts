import { describe, expect, test } from "vitest"
import { attend, type KvCache } from "../../src/kernels/attend.ts"
import { attentionInputs } from "../../src/kernels/attention_inputs.ts"
import type { Device } from "../../src/kernels/device.ts"
import { ropeTables } from "../../src/kernels/rope.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, free, SUBGROUPS, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/attend.ts"
import * as inputs from "../reference/attention_inputs.ts"
import { decodeRow8, encodeRow8 } from "../reference/row8.ts"

/** A tensor of heads in eight bits. */
function row8(device: Device, shape: readonly number[], words: Uint32Array<ArrayBuffer>): Tensor {
  const x = device.tensor("cache", shape, "row8")
  device.write(x, words)
  return x
}

/** n heads with one coordinate far beyond the others, as keys have them. */
function keys(n: number, D: number, seed: number): Float32Array<ArrayBuffer> {
  return uniform(n * D, seed).map((value, i) => (i % D === 3 ? 20 * value : value))
}

describe("attentionInputs, into a cache in eight bits", () => {
  const device = testDevice()
  const rotation = { theta: 1e6, factor: 1 }

  /** What the cache holds before and after, in words, and the definition's keys and values of the tokens. */
  async function written(
    x: Float32Array<ArrayBuffer>,
    { G, D, capacity, cursor, B }: { G: number; D: number; capacity: number; cursor: readonly number[]; B?: number },
  ) {
    const [H, T] = [2, x.length / ((2 + 2 * G) * D)]
    const slots = [...(B === undefined ? [] : [B]), capacity, G, D]
    const before = uniform(((B ?? 1) * capacity * G * (D + 4)) / 4, 9)
    const words = new Uint32Array(before.buffer)
    const cache: KvCache = { k: row8(device(), slots, words), v: row8(device(), slots, words) }
    const table = ropeTables(device(), { headDim: D, ...rotation }, 2000)
    const [projections, at] = [
      tensor(device(), [T, (H + 2 * G) * D], x),
      tensor(device(), B === undefined ? [2] : [B, 2], Uint32Array.from(cursor)),
    ]
    const run = new Run(device())
    run.keep(attentionInputs(run, projections, { H, G, D, table, cursor: at, cache }).q)
    const pool = new ScratchPool(device())
    const plan = run.plan(pool)
    plan.submit()
    const [k, v] = await Promise.all([cache.k, cache.v].map(async (x) => new Uint32Array(await device().read(x))))
    plan.dispose()
    pool.dispose()
    free(device(), cache.k, cache.v, table, projections, at)
    return { before: words, k: k!, v: v! }
  }

  /** Rows that memory must hold: those of `x` `[rows, D]` rounded, to half a step, and others as they were. */
  function check(memory: Uint32Array, before: Uint32Array, D: number, rows: ReadonlyMap<number, ArrayLike<number>>) {
    const words = D / 4 + 1
    for (let row = 0; row < memory.length / words; row++) {
      const here = memory.slice(row * words, (row + 1) * words)
      const x = rows.get(row)
      if (!x) {
        expect([...here]).toEqual([...before.slice(row * words, (row + 1) * words)])
        continue
      }
      const { codes, scales, values } = decodeRow8(here, D)
      const most = Array.from({ length: D }, (_, c) => Math.abs(x[c]!)).reduce((a, b) => Math.max(a, b))
      expectClose(scales, [most / 127], { relative: 2e-6 }, { what: `scale of row ${row}` })
      if (most > 0) expect(codes.reduce((a, b) => Math.max(a, Math.abs(b)), 0)).toBe(127)
      expectClose(
        values,
        Float64Array.from({ length: D }, (_, c) => x[c]!),
        { absolute: (most / 127) * 0.5001 },
        {
          what: `row ${row}`,
        },
      )
    }
  }

  test.each([
    { G: 1, D: 256, T: 5, position: 1021, capacity: 512 },
    { G: 2, D: 64, T: 3, position: 6, capacity: 7 }, // over the ring's end
    { G: 3, D: 12, T: 1, position: 0, capacity: 4 },
    { G: 1, D: 4, T: 9, position: 100, capacity: 9 },
  ])("rounds each head to half a step, G $G, D $D, T $T at $position", async ({ G, D, T, position, capacity }) => {
    const x = keys(T * (2 + 2 * G), D, 1)
    const { before, k, v } = await written(x, { G, D, capacity, cursor: [position, 0] })
    const expected = inputs.attentionInputs(x, { H: 2, G, D, position, ...rotation })
    const rows = (y: Float64Array) =>
      new Map(
        Array.from({ length: T * G }, (_, i) => {
          const slot = (position + Math.floor(i / G)) % capacity
          return [slot * G + (i % G), y.subarray(i * D, (i + 1) * D)]
        }),
      )
    check(k, before, D, rows(expected.k))
    check(v, before, D, rows(expected.v))
  })

  test("writes each sequence's own slot, and none for a row without one", async () => {
    const [G, D, capacity] = [2, 64, 5]
    const positions = [12, 0xffffffff, 0, 4]
    const x = keys(4 * 6, D, 2)
    const cursor = positions.flatMap((position) => [position, 1])
    const { before, k, v } = await written(x, { G, D, capacity, cursor, B: 4 })
    const rows = { k: new Map<number, Float64Array>(), v: new Map<number, Float64Array>() }
    for (const [b, position] of positions.entries()) {
      if (position === 0xffffffff) continue
      const own = x.subarray(b * 6 * D, (b + 1) * 6 * D)
      const expected = inputs.attentionInputs(own, { H: 2, G, D, position, ...rotation })
      for (const side of ["k", "v"] as const) {
        for (let g = 0; g < G; g++) {
          rows[side].set((b * capacity + (position % capacity)) * G + g, expected[side].subarray(g * D, (g + 1) * D))
        }
      }
    }
    check(k, before, D, rows.k)
    check(v, before, D, rows.v)
  })

  test("takes heads of zeros and of numbers too small to divide by for 0, and great ones for what they are", async () => {
    const D = 16
    for (const size of [0, 1e-38, 1e-20, 1e30]) {
      const x = uniform(4 * D, 3).map((value) => value * size)
      const { before, k, v } = await written(x, { G: 1, D, capacity: 1, cursor: [0, 0] })
      const y = size < 1e-30 ? new Float64Array(4 * D) : x
      check(k, before, D, new Map([[0, y.subarray(2 * D, 3 * D)]]))
      check(v, before, D, new Map([[0, y.subarray(3 * D)]]))
    }
  })
})

describe.each(SUBGROUPS)("attend, over a cache in eight bits, subgroups $subgroups", (options) => {
  const device = testDevice(options)

  test.each([
    { T: 1, H: 4, G: 1, D: 256, window: 0, capacity: 300, position: 299 },
    { T: 1, H: 4, G: 1, D: 256, window: 0, capacity: 1500, position: 1498 }, // in parts
    { T: 1, H: 4, G: 2, D: 64, window: 20, capacity: 24, position: 1000 },
    { T: 33, H: 4, G: 1, D: 256, window: 0, capacity: 64, position: 20 },
    { T: 5, H: 8, G: 2, D: 64, window: 16, capacity: 21, position: 88 },
    { T: 70, H: 3, G: 3, D: 12, window: 0, capacity: 70, position: 0 },
    { T: 20, H: 2, G: 1, D: 4, window: 300, capacity: 330, position: 900 },
  ])("equals its definition on what codes stand for, T $T at $position, window $window, D $D", async (shape) => {
    const { T, H, G, D, window, capacity, position } = shape
    const first = window === 0 ? 0 : Math.max(0, position - window + 1)
    const seen = position + T - first
    const q = uniform(T * H * D, 1)
    const [k, v] = [encodeRow8(keys(seen * G, D, 2), D), encodeRow8(uniform(seen * G * D, 3), D)]
    const inSlots = (rows: Uint32Array) => {
      const size = (G * (D + 4)) / 4
      const slots = new Uint32Array(capacity * size).fill(0x7fc00000) // scales that are NaN
      for (let i = 0; i < seen; i++) slots.set(rows.subarray(i * size, (i + 1) * size), ((first + i) % capacity) * size)
      return row8(device(), [capacity, G, D], slots)
    }
    const cache = { k: inSlots(k), v: inSlots(v) }
    const [queries, cursor] = [tensor(device(), [T, H, D], q), tensor(device(), [2], Uint32Array.of(position, 0))]
    const attention = { window, scale: D ** -0.5 / 4, softcap: 0 }
    const y = await compute(device(), (run) => attend(run, queries, cache, cursor, attention))
    const [ks, vs] = [k, v].map((words) => decodeRow8(words, D).values)
    const expected = reference.attend(q, ks!, vs!, { H, G, D, ...attention, position: position - first })
    expectClose(y, expected, { absolute: 5e-7 }, { what: `attend row8 D ${D}` })
    free(device(), cache.k, cache.v, queries, cursor)
  })

  test("gives a row of several sequences what it would be alone", async () => {
    const [H, G, D, capacity] = [4, 2, 64, 40]
    const q = uniform(2 * H * D, 1)
    const [k, v] = [2, 3].map((seed) => encodeRow8(uniform(2 * capacity * G * D, seed), D)) as [
      Uint32Array<ArrayBuffer>,
      Uint32Array<ArrayBuffer>,
    ]
    const attention = { window: 30, scale: 0.125, softcap: 0 }
    const answer = async (rows: number, b: number, lead: readonly number[]) => {
      const of = (words: Uint32Array<ArrayBuffer>) =>
        words.slice((b * words.length) / 2, ((b + rows) * words.length) / 2)
      const shape = [...lead, capacity, G, D]
      const cache = { k: row8(device(), shape, of(k)), v: row8(device(), shape, of(v)) }
      const queries = tensor(device(), [rows, H, D], q.slice(b * H * D, (b + rows) * H * D))
      const positions = Uint32Array.of(35, 0, 1234, 0).slice(2 * b, 2 * (b + rows))
      const cursor = tensor(device(), lead.length > 0 ? [rows, 2] : [2], positions)
      const y = await compute(device(), (run) => attend(run, queries, cache, cursor, attention))
      free(device(), cache.k, cache.v, queries, cursor)
      return [...y]
    }
    const together = await answer(2, 0, [2])
    expect(together).toEqual([...(await answer(1, 0, [])), ...(await answer(1, 1, []))])
  })

  test("is refused on a tape, and for other types", () => {
    const cache = (run: Run, dtype: "row8" | "f16") => ({ k: run.empty([8, 1, 16], dtype), v: run.empty([8, 1, 16]) })
    const attention = { window: 0, scale: 1, softcap: 0 }
    const run = new Run(device(), new Tape())
    expect(() => attend(run, run.empty([1, 2, 16]), cache(run, "row8"), run.empty([2], "u32"), attention)).toThrow(
      new TypeError("attend: k is row8, expected f32"),
    )
    const other = new Run(device())
    expect(() =>
      attend(other, other.empty([1, 2, 16]), cache(other, "f16"), other.empty([2], "u32"), attention),
    ).toThrow(new TypeError("attend: k is f16, expected f32"))
  })
})
