import { describe, expect, test } from "vitest"
import { attend } from "../../src/kernels/attend.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { free, SUBGROUPS, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import * as reference from "../reference/attend.ts"

type Attention = Omit<reference.Attention, "position">
type Numbers = Float32Array<ArrayBuffer>

interface Sequence {
  readonly q: Numbers
  readonly k: Numbers
  readonly v: Numbers
  /** The gradient with respect to the result. */
  readonly dy: Numbers
}

interface Gradients {
  readonly dq: Numbers
  readonly dk: Numbers
  readonly dv: Numbers
}

const NAMES = ["q", "k", "v"] as const

describe.each(SUBGROUPS)("attend, backward, subgroups $subgroups", (options) => {
  const device = testDevice(options)

  function sequence(T: number, { H, G, D }: Attention, size = 1): Sequence {
    return {
      q: uniform(T * H * D, 1, size),
      k: uniform(T * G * D, 2, size),
      v: uniform(T * G * D, 3),
      dy: uniform(T * H * D, 4),
    }
  }

  /** Gradients by tape. */
  async function gradients({ q, k, v, dy }: Sequence, { H, G, D, starts, ...options }: Attention): Promise<Gradients> {
    const T = q.length / (H * D)
    const cursor = tensor(device(), [2], Uint32Array.of(0, 0))
    const first = starts && tensor(device(), [T], Uint32Array.from(starts))
    const [queries, keys, values] = [
      tensor(device(), [T, H, D], q),
      tensor(device(), [T, G, D], k),
      tensor(device(), [T, G, D], v),
    ]
    const gradient = tensor(device(), [T, H, D], dy)

    const tape = new Tape()
    const run = new Run(device(), tape)
    const y = attend(run, queries, { k: keys, v: values }, cursor, { ...options, starts: first })
    const wanted = tape.gradients(run, y, gradient, [queries, keys, values]) as Tensor[]
    const pool = new ScratchPool(device())
    for (const x of wanted) run.keep(x)
    const plan = run.plan(pool)
    plan.submit()
    const [dq, dk, dv] = await Promise.all(wanted.map(async (x) => new Float32Array(await device().read(x))))
    plan.dispose()
    pool.dispose()
    free(device(), cursor, queries, keys, values, gradient, ...(first ? [first] : []))
    return { dq: dq!, dk: dk!, dv: dv! }
  }

  /** Holds gradients to those of the definition, and these to its slope along a random direction. */
  function check(actual: Gradients, all: Sequence, attention: Attention, what: string): void {
    const options = { ...attention, position: 0 }
    const expected = reference.attendBackward(all.q, all.k, all.v, all.dy, options)
    for (const name of NAMES) {
      const gradient = expected[`d${name}`]
      // An attention weight carries the rounding of its score, which may be some tens.
      expectClose(actual[`d${name}`], gradient, { relative: 2e-5, absolute: 1e-6 }, { what: `attend d${name} ${what}` })

      const direction = uniform(gradient.length, 5)
      const moved = (step: number) => {
        const x = { ...all, [name]: Float64Array.from(all[name], (value, i) => value + step * direction[i]!) }
        const y = reference.attend(x.q, x.k, x.v, options)
        return y.reduce((sum, value, i) => sum + value * all.dy[i]!, 0)
      }
      const slope = (moved(1e-4) - moved(-1e-4)) / 2e-4
      const along = gradient.reduce((sum, value, i) => sum + value * direction[i]!, 0)
      const size = Math.hypot(...gradient)
      expectClose([along], [slope], { absolute: 1e-7 * size + 1e-8 }, { what: `attend slope d${name} ${what}` })
    }
  }

  const shapes = [
    { H: 4, G: 1, D: 256 },
    { H: 4, G: 2, D: 64 },
    { H: 8, G: 4, D: 32 },
    { H: 2, G: 2, D: 8 },
    { H: 3, G: 1, D: 12 },
    { H: 1, G: 1, D: 132 },
  ]
  const W = 16

  test.each(shapes)("are the definition's for H $H, G $G, D $D, capped or not, at T 1, 5, 33 and 70", async (shape) => {
    for (const softcap of [0, 50]) {
      for (const T of [1, 5, 33, 70]) {
        const attention = { ...shape, window: 0, scale: shape.D ** -0.5, softcap }
        const all = sequence(T, attention, 3)
        check(await gradients(all, attention), all, attention, `H ${shape.H} D ${shape.D} T ${T} cap ${softcap}`)
      }
    }
  })

  test.each(shapes)("are the definition's for H $H, G $G, D $D past a window", async (shape) => {
    for (const softcap of [0, 50]) {
      const attention = { ...shape, window: W, scale: shape.D ** -0.5, softcap }
      const all = sequence(3 * W + 5, attention, 3)
      check(await gradients(all, attention), all, attention, `H ${shape.H} D ${shape.D} window cap ${softcap}`)
    }
  })

  // More keys and queries than a block of the kernels, so that sums go on over blocks.
  test.each([0, 1, 300])("are the definition's over many blocks, window %i", async (window) => {
    const attention = { H: 4, G: 2, D: 16, window, scale: 0.25, softcap: 50 }
    const all = sequence(700, attention, 2)
    check(await gradients(all, attention), all, attention, `T 700 window ${window}`)
  })

  test("are the definition's where the cap bends most scores flat", async () => {
    const attention = { H: 2, G: 1, D: 16, window: 0, scale: 1, softcap: 5 }
    const all = sequence(40, attention, 3) // scores up to 144
    check(await gradients(all, attention), all, attention, "flat")
  })

  test.each([0, W])("keep packed documents apart, window %i", async (window) => {
    const documents = [1, 33, 2, 5, 300, 44]
    const begins = documents.map((_, i) => documents.slice(0, i).reduce((a, b) => a + b, 0))
    const starts = documents.flatMap((length, i) => Array<number>(length).fill(begins[i]!))
    const attention = { H: 4, G: 2, D: 32, window, scale: 0.3, softcap: 0, starts }
    const all = sequence(starts.length, attention)
    const actual = await gradients(all, attention)
    check(actual, all, attention, `packed window ${window}`)

    const changed = { ...all, q: all.q.slice(), k: all.k.slice(), v: all.v.slice(), dy: all.dy.slice() }
    for (const x of Object.values(changed))
      x.fill(0.5, (x.length / starts.length) * 40, (x.length / starts.length) * 41)
    const after = await gradients(changed, attention)
    for (const name of ["dq", "dk", "dv"] as const) {
      const row = actual[name].length / starts.length
      const own = starts.flatMap((start, t) => {
        const [a, b] = [actual[name], after[name]].map((x) => x.slice(t * row, (t + 1) * row))
        return a!.every((value, i) => Object.is(value, b![i])) ? [] : [start]
      })
      expect(new Set(own), name).toEqual(new Set([36])) // the document of 5 tokens that 40 belongs to
    }
  })

  test("of a cache with more slots than tokens are 0 in the slots that hold none", async () => {
    const attention = { H: 2, G: 1, D: 16, window: 0, scale: 0.25, softcap: 50 }
    const all = sequence(5, attention)
    const x = (heads: number, data: Numbers) => tensor(device(), [5, heads, 16], data)
    const [q, dy] = [x(2, all.q), x(2, all.dy)]
    const pad = new Float32Array(6 * 16).fill(Number.NaN)
    const slots = (data: Numbers) => tensor(device(), [11, 1, 16], Float32Array.of(...data, ...pad))
    const cache = { k: slots(all.k), v: slots(all.v) }
    const cursor = tensor(device(), [2], Uint32Array.of(0, 0))
    const tape = new Tape()
    const run = new Run(device(), tape)
    const y = attend(run, q, cache, cursor, attention)
    const [dk, dv] = tape.gradients(run, y, dy, [cache.k, cache.v]) as [Tensor, Tensor]
    run.keep(dk)
    run.keep(dv)
    const plan = run.plan(new ScratchPool(device()))
    plan.submit()
    for (const gradient of [dk, dv]) {
      const data = new Float32Array(await device().read(gradient))
      expect([...data.slice(5 * 16)]).toEqual(Array<number>(6 * 16).fill(0))
      expect(data.slice(0, 5 * 16).every((value) => value !== 0)).toBe(true)
    }
  })

  test("repeat to the bit", async () => {
    const attention = { H: 4, G: 2, D: 32, window: W, scale: 0.3, softcap: 50 }
    const all = sequence(70, attention)
    expect(await gradients(all, attention)).toEqual(await gradients(all, attention))
  })

  test("record only what is asked for", () => {
    const x = {
      q: tensor(device(), [5, 2, 16], new Float32Array(160)),
      k: tensor(device(), [5, 1, 16], new Float32Array(80)),
      v: tensor(device(), [5, 1, 16], new Float32Array(80)),
      cursor: tensor(device(), [2], Uint32Array.of(0, 0)),
    }
    const dispatches = (...wanted: (keyof typeof x)[]) => {
      const tape = new Tape()
      const run = new Run(device(), tape)
      const y = attend(run, x.q, { k: x.k, v: x.v }, x.cursor, { window: 0, scale: 1, softcap: 0 })
      const variables = wanted.map((name) => x[name])
      for (const gradient of tape.gradients(run, y, x.q, variables) as Tensor[]) run.keep(gradient)
      return run.plan(new ScratchPool(device())).dispatches
    }
    expect(dispatches("q")).toBe(3) // the forward, delta and dq
    expect(dispatches("k")).toBe(3) // dk and dv instead of dq
    expect(dispatches("q", "k", "v")).toBe(4)
  })

  test("refuse a cache that does not hold all tokens", () => {
    const tape = new Tape()
    const run = new Run(device(), tape)
    const cache = { k: run.empty([8, 1, 16]), v: run.empty([8, 1, 16]) }
    const q = run.empty([9, 2, 16])
    const y = attend(run, q, cache, run.empty([2], "u32"), { window: 4, scale: 1, softcap: 0 })
    expect(() => tape.gradients(run, y, y, [q])).toThrow(
      new RangeError("attend: capacity is 8, expected at least T = 9 for gradients"),
    )
  })
})
