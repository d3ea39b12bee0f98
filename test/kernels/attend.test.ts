import { describe, expect, test } from "vitest"
import { attend, cacheWrite, type KvCache } from "../../src/kernels/attend.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, free, SUBGROUPS, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/attend.ts"

type Attention = Omit<reference.Attention, "position">

interface Sequence {
  readonly q: Float32Array<ArrayBuffer>
  readonly k: Float32Array<ArrayBuffer>
  readonly v: Float32Array<ArrayBuffer>
}

/** The last takes several tokens four queries at a time too. */
const VARIANTS = [
  ...SUBGROUPS.map((options) => ({ name: `subgroups ${options.subgroups}`, options })),
  { name: "subgroups for few", options: { tuning: { split: 1, attention: "subgroup" } } },
] as const

describe.each(VARIANTS)("attend and cache_write, $name", ({ options }) => {
  const device = testDevice(options)

  /** A sequence of S positions. */
  function sequence(S: number, { H, G, D }: Attention, size = 1): Sequence {
    return { q: uniform(S * H * D, 1, size), k: uniform(S * G * D, 2, size), v: uniform(S * G * D, 3) }
  }

  /** Attends from position `start` on, chunk by chunk, over a cache whose unwritten slots are NaN. */
  async function chunked(
    { q, k, v }: Sequence,
    { H, G, D, starts, ...options }: Attention,
    chunk: number,
    capacity: number,
  ): Promise<Float32Array> {
    const S = q.length / (H * D)
    const unwritten = new Float32Array(capacity * G * D).fill(Number.NaN)
    const cache: KvCache = {
      k: tensor(device(), [capacity, G, D], unwritten),
      v: tensor(device(), [capacity, G, D], unwritten),
    }
    const cursor = tensor(device(), [2], Uint32Array.of(0, 0))
    const y = new Float32Array(q.length)
    for (let at = 0; at < S; at += chunk) {
      const T = Math.min(chunk, S - at)
      const part = (x: Float32Array<ArrayBuffer>, heads: number) =>
        tensor(device(), [T, heads, D], x.slice(at * heads * D, (at + T) * heads * D))
      const [queries, keys, values] = [part(q, H), part(k, G), part(v, G)]
      const first = starts && tensor(device(), [T], Uint32Array.from(starts).slice(at, at + T))
      device().write(cursor, Uint32Array.of(at, 0))
      const rows = await compute(device(), (run) => {
        cacheWrite(run, keys, values, cache, cursor)
        return attend(run, queries, cache, cursor, { ...options, starts: first })
      })
      y.set(rows, at * H * D)
      free(device(), queries, keys, values, ...(first ? [first] : []))
    }
    free(device(), cache.k, cache.v, cursor)
    return y
  }

  function check(y: Float32Array, { q, k, v }: Sequence, attention: Attention, what: string): void {
    const expected = reference.attend(q, k, v, { ...attention, position: 0 })
    // Values are within 1; a capped score carries the error of tanh, times the cap.
    expectClose(y, expected, { absolute: 5e-7 + attention.softcap * 1e-7 }, { what: `attend ${what}` })
  }

  const shapes = [
    { H: 4, G: 1, D: 256 },
    { H: 4, G: 2, D: 128 },
    { H: 8, G: 4, D: 64 },
    { H: 8, G: 4, D: 8 },
    { H: 6, G: 2, D: 16 },
    { H: 8, G: 1, D: 32 },
    { H: 3, G: 3, D: 12 },
    { H: 2, G: 1, D: 4 },
    { H: 1, G: 1, D: 132 },
  ]

  test.each(shapes)("equals its definition for H $H, G $G, D $D at T 1, 5, 33 and 70", async (shape) => {
    for (const T of [1, 5, 33, 70]) {
      const attention = { ...shape, window: 0, scale: shape.D ** -0.5, softcap: 0 }
      const all = sequence(T, attention)
      check(await chunked(all, attention, T, T), all, attention, `D ${shape.D} T ${T}`)
    }
  })

  test.each([1, 7, 15, 16, 17, 32])("equals full attention over a ring, window 16, in chunks of %i", async (chunk) => {
    const attention = { H: 4, G: 2, D: 32, window: 16, scale: 0.3, softcap: 0 }
    const all = sequence(3 * 16 + 13, attention)
    check(await chunked(all, attention, chunk, 15 + chunk), all, attention, `ring 16 chunk ${chunk}`)
  })

  // More keys than a block of the kernel, so that its sums go on over blocks and over the end of the ring.
  test.each([7, 299, 300, 301, 600])(
    "equals full attention over a ring, window 300, in chunks of %i",
    async (chunk) => {
      const attention = { H: 2, G: 1, D: 16, window: 300, scale: 0.2, softcap: 50 }
      const all = sequence(3 * 300 + 25, attention)
      check(await chunked(all, attention, chunk, 299 + chunk), all, attention, `ring 300 chunk ${chunk}`)
    },
  )

  test.each([
    [1, 1],
    [1, 7],
    [64, 64],
    [65, 1],
  ])("takes a window of %i, in chunks of %i", async (window, chunk) => {
    const attention = { H: 2, G: 2, D: 16, window, scale: 0.25, softcap: 0 }
    const all = sequence(Math.max(20, window + 70), attention)
    check(await chunked(all, attention, chunk, window - 1 + chunk), all, attention, `window ${window}`)
  })

  test("takes a ring that is larger than it must be, and a cache of the whole sequence", async () => {
    const attention = { H: 2, G: 1, D: 16, window: 10, scale: 0.25, softcap: 0 }
    const all = sequence(50, attention)
    check(await chunked(all, attention, 4, 29), all, attention, "large ring")
    check(await chunked(all, attention, 4, 50), all, attention, "no ring")
    const global = { ...attention, window: 0 }
    check(await chunked(all, global, 7, 64), all, global, "all positions in chunks")
  })

  // A token alone shares out its keys among workgroups, of which those past its position find none.
  test.each([
    { T: 2, position: 1498, window: 0 },
    { T: 19, position: 1481, window: 1024 },
    { T: 1, position: 1499, window: 0 },
    { T: 1, position: 1499, window: 1024 },
    { T: 1, position: 700, window: 513 },
    { T: 1, position: 3, window: 0 },
    { T: 1, position: 255, window: 0 },
    { T: 1, position: 256, window: 300 },
    { T: 2, position: 1100, window: 1024 },
    { T: 1, position: 1023, window: 1024 },
  ])("sums over 1500 keys, T $T at $position, window $window", async ({ T, position, window }) => {
    const attention = { H: 4, G: 1, D: 256, window, scale: 1 / 16, softcap: 0 }
    const S = 1500
    const [k, v, q] = [uniform(S * 256, 2), uniform(S * 256, 3), uniform(T * 4 * 256, 1)]
    const cache = { k: tensor(device(), [S, 1, 256], k), v: tensor(device(), [S, 1, 256], v) }
    const [queries, cursor] = [tensor(device(), [T, 4, 256], q), tensor(device(), [2], Uint32Array.of(position, 0))]
    const y = await compute(device(), (run) => attend(run, queries, cache, cursor, attention))
    const seen = (x: Float32Array) => x.subarray(0, (position + T) * 256)
    const expected = reference.attend(q, seen(k), seen(v), { ...attention, position })
    expectClose(y, expected, { absolute: 5e-7 }, { what: `attend 1500 keys, T ${T}, window ${window}` })
  })

  test.each([1, 3])("goes around a ring of 1100 slots with keys from its end and its beginning, T = %i", async (T) => {
    const attention = { H: 4, G: 1, D: 64, window: 1090, scale: 0.2, softcap: 30 }
    const all = sequence(1500, attention)
    const [k, v] = [new Float32Array(1100 * 64), new Float32Array(1100 * 64)]
    for (let s = 400; s < 1500; s++) {
      k.set(all.k.subarray(s * 64, (s + 1) * 64), (s % 1100) * 64)
      v.set(all.v.subarray(s * 64, (s + 1) * 64), (s % 1100) * 64)
    }
    const q = all.q.slice(-T * 256)
    const cache = { k: tensor(device(), [1100, 1, 64], k), v: tensor(device(), [1100, 1, 64], v) }
    const [queries, cursor] = [tensor(device(), [T, 4, 64], q), tensor(device(), [2], Uint32Array.of(1500 - T, 0))]
    const y = await compute(device(), (run) => attend(run, queries, cache, cursor, attention))
    const expected = reference.attend(q, all.k, all.v, { ...attention, position: 1500 - T })
    expectClose(y, expected, { absolute: 5e-6 }, { what: `attend ring of 1100, T ${T}` })
  })

  test("caps scores far beyond the cap, and picks one key where scores are huge", async () => {
    const capped = { H: 2, G: 1, D: 16, window: 0, scale: 1, softcap: 50 }
    const all = sequence(80, capped, 30) // scores up to 14400
    check(await chunked(all, capped, 80, 80), all, capped, "capped")
    const plain = { ...capped, softcap: 0 }
    const picked = await chunked(all, plain, 80, 80)
    const expected = reference.attend(all.q, all.k, all.v, { ...plain, position: 0 })
    expectClose(picked, expected, { absolute: 1e-4 }, { what: "attend huge scores" }) // scores have ulps of 1e-3
  })

  test.each([
    [1, 20],
    [20, 39],
  ])(
    "lets key s reach the queries s to s + W - 1 and leaves all others bit-identical (chunks of %i)",
    async (chunk, capacity) => {
      const W = 20
      const attention = { H: 2, G: 1, D: 16, window: W, scale: 0.25, softcap: 0 }
      const all = sequence(3 * W + 5, attention)
      const before = await chunked(all, attention, chunk, capacity)
      for (const name of ["k", "v"] as const) {
        const s = 23
        const changed = all[name].slice()
        for (let d = 0; d < 16; d++) changed[s * 16 + d]! += 0.5
        const after = await chunked({ ...all, [name]: changed }, attention, chunk, capacity)
        for (let t = 0; t < before.length / 32; t++) {
          const [a, b] = [before.slice(t * 32, (t + 1) * 32), after.slice(t * 32, (t + 1) * 32)]
          const same = a.every((value, i) => Object.is(value, b[i]))
          expect(same, `query ${t} and ${name} ${s}`).toBe(t < s || t >= s + W)
        }
      }
    },
  )

  test.each([
    { window: 0, chunk: 85, capacity: 85 },
    { window: 16, chunk: 85, capacity: 85 },
    { window: 16, chunk: 7, capacity: 22 },
  ])("keeps packed documents apart, window $window, in chunks of $chunk", async ({ window, chunk, capacity }) => {
    const shape = { H: 4, G: 2, D: 32, window, scale: 0.3, softcap: 0 }
    const documents = [1, 33, 2, 5, 44]
    const begins = documents.map((_, i) => documents.slice(0, i).reduce((a, b) => a + b, 0))
    const starts = documents.flatMap((length, i) => Array<number>(length).fill(begins[i]!))
    const all = sequence(85, shape)
    const y = await chunked(all, { ...shape, starts }, chunk, capacity)
    check(y, all, { ...shape, starts }, "packed")
    documents.forEach((length, i) => {
      const part = (x: Float32Array<ArrayBuffer>) => {
        const row = x.length / 85
        return x.slice(begins[i]! * row, (begins[i]! + length) * row)
      }
      const alone = { q: part(all.q), k: part(all.k), v: part(all.v) }
      check(part(new Float32Array(y)), alone, shape, `packed document ${i}`)
    })
  })

  test("refuses shapes that do not fit together", () => {
    const run = new Run(device())
    const cursor = run.empty([2], "u32")
    const options = { window: 4, scale: 1, softcap: 0 }
    const cache = { k: run.empty([8, 2, 16]), v: run.empty([8, 2, 16]) }
    const q = (...shape: number[]) => run.empty(shape)
    expect(() => attend(run, q(3, 3, 16), cache, cursor, options)).toThrow(
      new RangeError("attend: H is 3, expected a multiple of G = 2"),
    )
    expect(() => attend(run, q(3, 2, 8), cache, cursor, options)).toThrow(
      new RangeError("attend: k is [8, 2, 16], expected [8, 2, 8]"),
    )
    expect(() => attend(run, q(3, 32), cache, cursor, options)).toThrow(
      new RangeError("attend: q is [3, 32], expected [T, H, D]"),
    )
    const wide = { k: run.empty([8, 1, 260]), v: run.empty([8, 1, 260]) }
    expect(() => attend(run, q(3, 1, 260), wide, cursor, options)).toThrow(
      new RangeError("attend: D is 260, expected at most 256"),
    )
    expect(() => attend(run, q(3, 2, 16), { ...cache, v: q(7, 2, 16) }, cursor, options)).toThrow(
      new RangeError("attend: v is [7, 2, 16], expected [8, 2, 16]"),
    )
    expect(() => attend(run, q(3, 2, 16), cache, cursor, { ...options, starts: run.empty([2], "u32") })).toThrow(
      new RangeError("attend: starts is [2], expected [3]"),
    )
    expect(() => attend(run, q(3, 2, 16), cache, cursor, { ...options, starts: q(3) })).toThrow(
      new TypeError("attend: starts is f32, expected u32"),
    )
  })

  test("cacheWrite refuses more positions than there are slots, and other shapes", () => {
    const run = new Run(device())
    const cursor = run.empty([2], "u32")
    const cache = { k: run.empty([8, 2, 16]), v: run.empty([8, 2, 16]) }
    const x = (...shape: number[]) => run.empty(shape)
    expect(() => cacheWrite(run, x(9, 2, 16), x(9, 2, 16), cache, cursor)).toThrow(
      new RangeError("cacheWrite: T is 9, expected at most the capacity 8"),
    )
    expect(() => cacheWrite(run, x(3, 2, 16), x(3, 1, 16), cache, cursor)).toThrow(
      new RangeError("cacheWrite: v is [3, 1, 16], expected [3, 2, 16]"),
    )
    expect(() => cacheWrite(run, x(3, 1, 16), x(3, 1, 16), cache, cursor)).toThrow(
      new RangeError("cacheWrite: cache is [8, 2, 16], expected [8, 1, 16]"),
    )
  })
})
