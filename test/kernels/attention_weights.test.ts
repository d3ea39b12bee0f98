import { describe, expect, test } from "vitest"
import { cacheWrite, type KvCache } from "../../src/kernels/attend.ts"
import { type AttentionWeightsOptions, attentionWeights } from "../../src/kernels/attention_weights.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, free, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/attend.ts"
import { decodeRow8, encodeRow8 } from "../reference/row8.ts"

type Attention = Omit<reference.Attention, "position" | "starts">

describe("attentionWeights", () => {
  const device = testDevice()

  /** Weights of all queries, chunk by chunk, over a cache whose unwritten slots are NaN; two rows at a time. */
  async function chunked(
    { q, k }: { q: Float32Array<ArrayBuffer>; k: Float32Array<ArrayBuffer> },
    { H, G, D, ...options }: Attention,
    head: number,
    { chunk, capacity }: { chunk: number; capacity: number },
  ): Promise<Float32Array> {
    const S = q.length / (H * D)
    const slots = new Float32Array(capacity * G * D).fill(Number.NaN)
    const cache: KvCache = {
      k: tensor(device(), [capacity, G, D], slots),
      v: tensor(device(), [capacity, G, D], slots),
    }
    const cursor = tensor(device(), [2], Uint32Array.of(0, 0))
    const all = new Float32Array(S * S)
    for (let at = 0; at < S; at += chunk) {
      const T = Math.min(chunk, S - at)
      const part = (x: Float32Array<ArrayBuffer>, heads: number) =>
        tensor(device(), [T, heads, D], x.slice(at * heads * D, (at + T) * heads * D))
      const [queries, keys] = [part(q, H), part(k, G)]
      device().write(cursor, Uint32Array.of(at, 0))
      for (let from = 0; from < T; from += 2) {
        const rows = Math.min(2, T - from)
        const weights = await compute(device(), (run) => {
          cacheWrite(run, keys, keys, cache, cursor)
          return attentionWeights(run, queries, cache, cursor, { head, S: at + T, from, rows, ...options })
        })
        for (let i = 0; i < rows; i++) {
          all.set(weights.subarray(i * (at + T), (i + 1) * (at + T)), (at + from + i) * S)
        }
      }
      free(device(), queries, keys)
    }
    free(device(), cache.k, cache.v, cursor)
    return all
  }

  function sequence(S: number, { H, G, D }: Attention, size = 1) {
    return { q: uniform(S * H * D, 1, size), k: uniform(S * G * D, 2, size) }
  }

  function check(weights: Float32Array, { q, k }: ReturnType<typeof sequence>, head: number, attention: Attention) {
    const expected = reference.attentionWeights(q, k, head, { ...attention, position: 0 })
    const what = `D ${attention.D}, head ${head}`
    // Weights are within 1; a capped score carries the error of tanh, times the cap.
    expectClose(weights, expected, { absolute: 5e-7 + attention.softcap * 1e-7 }, { what })
    expected.forEach((weight, i) => {
      if (weight === 0) expect(weights[i], `${what}, ${i}`).toBe(0)
    })
  }

  test.each([
    { H: 4, G: 1, D: 256 },
    { H: 6, G: 2, D: 16 },
    { H: 3, G: 3, D: 12 },
    { H: 1, G: 1, D: 4 },
  ])("equals its definition for every head of H $H, G $G, D $D at T 1 and 70", async (shape) => {
    for (const T of [1, 70]) {
      const attention = { ...shape, window: 0, scale: shape.D ** -0.5, softcap: 0 }
      const all = sequence(T, attention)
      for (let head = 0; head < shape.H; head++) {
        check(await chunked(all, attention, head, { chunk: T, capacity: T }), all, head, attention)
      }
    }
  })

  test.each([1, 7, 16, 32])(
    "equals it over a ring, window 16, in chunks of %i, 0 outside the window",
    async (chunk) => {
      const attention = { H: 4, G: 2, D: 32, window: 16, scale: 0.3, softcap: 0 }
      const all = sequence(45, attention)
      check(await chunked(all, attention, 3, { chunk, capacity: 15 + chunk }), all, 3, attention)
    },
  )

  test("caps scores, and bears large ones", async () => {
    const attention = { H: 2, G: 1, D: 64, window: 20, scale: 0.5, softcap: 50 }
    for (const size of [1, 6]) {
      const all = sequence(40, attention, size)
      check(await chunked(all, attention, 1, { chunk: 40, capacity: 40 }), all, 1, attention)
    }
    const sharp = { ...attention, scale: 40, softcap: 0 }
    const all = sequence(30, sharp, 3)
    const weights = await chunked(all, sharp, 0, { chunk: 30, capacity: 30 })
    for (let t = 0; t < 30; t++) {
      expect(weights.subarray(t * 30, t * 30 + 30).reduce((a, b) => a + b)).toBeCloseTo(1, 5)
    }
  })

  test("reads keys that are kept in eight bits", async () => {
    const attention = { H: 4, G: 2, D: 32, window: 0, scale: 0.4, softcap: 0 }
    const T = 9
    const { q, k } = sequence(T, attention)
    const words = encodeRow8(k, attention.D)
    const slots = device().tensor("cache", [T, 2, 32], "row8")
    device().write(slots, words)
    const [queries, cursor] = [tensor(device(), [T, 4, 32], q), tensor(device(), [2], Uint32Array.of(0, 0))]
    const { window, scale, softcap } = attention
    const weights = await compute(device(), (run) => {
      const cache = { k: slots, v: slots }
      return attentionWeights(run, queries, cache, cursor, { head: 2, S: T, from: 0, rows: T, window, scale, softcap })
    })
    const expected = reference.attentionWeights(q, decodeRow8(words, attention.D).values, 2, {
      ...attention,
      position: 0,
    })
    expectClose(weights, expected, { absolute: 5e-7 }, { what: "row8" })
    free(device(), slots, queries, cursor)
  })

  test("refuses what does not fit", () => {
    const run = new Run(device())
    const q = run.empty([4, 6, 8])
    const cache = { k: run.empty([4, 2, 8]), v: run.empty([4, 2, 8]) }
    const cursor = run.empty([2], "u32")
    const plain = { head: 0, S: 4, from: 0, rows: 4, window: 0, scale: 1, softcap: 0 }
    const ask = (options: Partial<AttentionWeightsOptions>, of: KvCache = cache) =>
      attentionWeights(run, q, of, cursor, { ...plain, ...options })
    expect(() => ask({ head: 6 })).toThrow(new RangeError("attentionWeights: head is 6, expected 0 to 5"))
    expect(() => ask({ from: 2, rows: 3 })).toThrow(
      new RangeError("attentionWeights: rows are 2 to 4, expected some of 0 to 3"),
    )
    const four = { k: run.empty([4, 4, 8]), v: run.empty([4, 4, 8]) }
    expect(() => ask({}, four)).toThrow(new RangeError("attentionWeights: H is 6, expected a multiple of G = 4"))
    const several = { k: run.empty([4, 9, 2, 8]), v: run.empty([4, 9, 2, 8]) }
    const cursors = run.empty([4, 2], "u32")
    expect(() => attentionWeights(run, q, several, cursors, plain)).toThrow(
      new RangeError("attentionWeights: cache is of 4 sequences, expected one"),
    )
  })
})
