import { describe, expect, test } from "vitest"
import { attend } from "../../src/kernels/attend.ts"
import { attentionInputs } from "../../src/kernels/attention_inputs.ts"
import { NO_POSITION } from "../../src/kernels/cursors.ts"
import { ropeTables } from "../../src/kernels/rope.ts"
import { Run } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { readAll } from "../helpers/gradients.ts"
import { compute, free, SUBGROUPS, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/attend.ts"
import * as inputs from "../reference/attention_inputs.ts"

interface Case {
  readonly H: number
  readonly G: number
  readonly D: number
  readonly window: number
  readonly capacity: number
  readonly softcap?: number
  /** Of each sequence's token; null for a row without a sequence. */
  readonly positions: readonly (number | null)[]
}

/** Positions of B sequences and of two more, whose rows nothing asks for. */
const cursorOf = (positions: readonly (number | null)[]) =>
  Uint32Array.from([...positions, 3, 4].flatMap((position) => [position ?? NO_POSITION, 77]))

describe.each(SUBGROUPS)("attend, of several sequences, subgroups $subgroups", (options) => {
  const device = testDevice(options)

  /** What a token at a position sees: keys and values `[keys, G, D]`, and the same in slots, of which the others are NaN. */
  function cached(position: number | null, seed: number, { G, D, window, capacity }: Case) {
    const row = G * D
    const first = position === null || window === 0 ? 0 : Math.max(0, position - window + 1)
    const keys = position === null ? 0 : position + 1 - first
    const side = (seed: number) => {
      const seen = uniform(keys * row, seed)
      const slots = new Float32Array(capacity * row).fill(Number.NaN)
      for (let i = 0; i < keys; i++) slots.set(seen.subarray(i * row, (i + 1) * row), ((first + i) % capacity) * row)
      return { seen, slots }
    }
    return { keys, k: side(seed), v: side(seed + 1) }
  }

  const joined = (parts: readonly Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]))

  test.each<Case>([
    { H: 4, G: 1, D: 256, window: 0, capacity: 300, positions: [0] },
    { H: 4, G: 1, D: 256, window: 40, capacity: 44, positions: [0, 39, null, 43, 100_000] },
    { H: 4, G: 2, D: 64, window: 0, capacity: 90, positions: [89, 0, 17] },
    { H: 8, G: 2, D: 64, window: 16, capacity: 31, positions: [30, 31] },
    { H: 8, G: 1, D: 64, window: 300, capacity: 310, softcap: 30, positions: [309, null, 310, 5000] },
    { H: 3, G: 3, D: 12, window: 5, capacity: 5, positions: [4, 5, 6, 7, 8] },
    { H: 4, G: 1, D: 256, window: 0, capacity: 1500, positions: [1499, null, 700, 3] }, // in parts
    { H: 4, G: 2, D: 64, window: 1090, capacity: 1100, positions: [1200, 1098] }, // in parts, around the ring
  ])("gives each row what it would be alone: H $H, G $G, D $D, window $window at $positions", async (shape) => {
    const { H, G, D, window, capacity, softcap = 0, positions } = shape
    const B = positions.length
    const q = uniform(B * H * D, 1)
    const caches = positions.map((position, b) => cached(position, 10 + 2 * b, shape))
    const slots = [B, capacity, G, D]
    const k = tensor(device(), slots, joined(caches.map(({ k }) => k.slots)))
    const v = tensor(device(), slots, joined(caches.map(({ v }) => v.slots)))
    const [queries, cursor] = [tensor(device(), [B, H, D], q), tensor(device(), [B + 2, 2], cursorOf(positions))]
    const scores = { window, scale: D ** -0.5, softcap }
    const y = await compute(device(), (run) => attend(run, queries, { k, v }, cursor, scores))
    free(device(), k, v, queries, cursor)
    for (const [b, { keys, k, v }] of caches.entries()) {
      const position = positions[b]!
      if (position === null) continue
      const row = y.slice(b * H * D, (b + 1) * H * D)
      const query = q.slice(b * H * D, (b + 1) * H * D)
      const expected = reference.attend(query, k.seen, v.seen, { H, G, D, ...scores, position: keys - 1 })
      expectClose(row, expected, { absolute: 5e-7 + softcap * 1e-7 }, { what: `attend row ${b} of ${B}` })
      const alone = [
        tensor(device(), [1, H, D], query),
        tensor(device(), [capacity, G, D], k.slots),
        tensor(device(), [capacity, G, D], v.slots),
        tensor(device(), [2], Uint32Array.of(position, 0)),
      ] as const
      expect(
        await compute(device(), (run) => attend(run, alone[0], { k: alone[1], v: alone[2] }, alone[3], scores)),
      ).toEqual(row)
      free(device(), ...alone)
    }
  })

  test("refuses caches and cursors of fewer sequences, and gradients and documents", () => {
    const run = new Run(device())
    const [q, cursor] = [run.empty([3, 2, 16]), run.empty([3, 2], "u32")]
    const cache = (B: number) => ({ k: run.empty([B, 8, 1, 16]), v: run.empty([B, 8, 1, 16]) })
    const options = { window: 0, scale: 1, softcap: 0 }
    expect(() => attend(run, q, cache(4), cursor, options)).toThrow(
      new RangeError("attend: k is [4, 8, 1, 16], expected [3, 8, 1, 16]"),
    )
    expect(() => attend(run, q, { ...cache(3), v: run.empty([8, 1, 16]) }, cursor, options)).toThrow(
      new RangeError("attend: v is [8, 1, 16], expected [3, 8, 1, 16]"),
    )
    for (const shape of [[2], [2, 2], [3, 3]]) {
      expect(() => attend(run, q, cache(3), run.empty(shape, "u32"), options)).toThrow(
        new RangeError(`attend: cursor is [${shape.join(", ")}], expected [3 or more, 2]`),
      )
    }
    expect(() => attend(run, q, cache(3), run.empty([3, 2]), options)).toThrow(
      new TypeError("attend: cursor is f32, expected u32"),
    )
    const starts = run.empty([3], "u32")
    expect(() => attend(run, q, cache(3), cursor, { ...options, starts })).toThrow(
      new RangeError("attend: k is [3, 8, 1, 16], expected that of one sequence for documents in one"),
    )
    expect(() => attend(new Run(device(), new Tape()), q, cache(3), cursor, options)).toThrow(
      new RangeError("attend: k is [3, 8, 1, 16], expected that of one sequence for gradients"),
    )
  })
})

describe("attentionInputs, of several sequences", () => {
  const device = testDevice()

  test.each([
    { H: 4, G: 1, D: 256, capacity: 40, positions: [0, 39, null, 40, 70_000] },
    { H: 4, G: 2, D: 64, capacity: 3, positions: [131_071, 5] },
    { H: 3, G: 3, D: 12, capacity: 9, positions: [255] },
  ])("writes each token's slot and no other, H $H, G $G, D $D at $positions", async (shape) => {
    const { H, G, D, capacity, positions } = shape
    const [B, heads] = [positions.length, H + 2 * G]
    const rotation = { theta: 1e6, factor: 8 }
    const x = uniform(B * heads * D, 1, 3)
    const norms = { q: uniform(D, 2), k: uniform(D, 3), eps: 1e-6, offset: 1 }
    const before = uniform(B * capacity * G * D, 4)
    const made: Tensor[] = []
    const put = (shape: readonly number[], data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) => {
      made.push(tensor(device(), shape, data))
      return made.at(-1)!
    }
    const cache = { k: put([B, capacity, G, D], before), v: put([B, capacity, G, D], before) }
    const table = ropeTables(device(), { headDim: D, ...rotation }, Math.max(...positions.map((at) => at ?? 0)) + 1)
    const run = new Run(device())
    const { q } = attentionInputs(run, put([B, heads * D], x), {
      ...{ H, G, D, table, cache },
      norms: { ...norms, q: put([D], norms.q), k: put([D], norms.k) },
      cursor: put([B + 2, 2], cursorOf(positions)),
    })
    const [queries, k, v] = (await readAll(device(), run, [q, cache.k, cache.v])) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ]
    const slots = { k: Float64Array.from(before), v: Float64Array.from(before) }
    for (const [b, position] of positions.entries()) {
      if (position === null) continue
      const row = x.subarray(b * heads * D, (b + 1) * heads * D)
      const expected = inputs.attentionInputs(row, { H, G, D, position, norms, ...rotation })
      const actual = queries.subarray(b * H * D, (b + 1) * H * D)
      expectClose(actual, expected.q, { absolute: 1e-6, relative: 1e-6 }, { what: `attentionInputs q ${b}` })
      const slot = (b * capacity + (position % capacity)) * G * D
      const part = k.subarray(slot, slot + G * D)
      expectClose(part, expected.k, { absolute: 1e-6, relative: 1e-6 }, { what: `attentionInputs k ${b}` })
      slots.k.set(part, slot)
      slots.v.set(expected.v, slot)
    }
    expect([...k]).toEqual([...slots.k])
    expect([...v]).toEqual([...slots.v])
    free(device(), table, ...made)
  })
})
