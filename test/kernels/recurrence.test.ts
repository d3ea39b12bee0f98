import { describe, expect, test } from "vitest"
import { NO_POSITION } from "../../src/kernels/cursors.ts"
import { recurrence, recurrenceBackward } from "../../src/kernels/recurrence.ts"
import { Run } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import { compute, free, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { read, recorded } from "../helpers/updates.ts"
import * as reference from "../reference/recurrence.ts"

const shapes = [
  [1, 4],
  [2, 12],
  [63, 8],
  [64, 8],
  [65, 8],
  [128, 4],
  [129, 260],
  [1000, 12],
  [5, 2560],
] as const

/** Decays as gates give them, from 0 to 1, the more of them near 1 the larger the power. */
const decays = (n: number, seed: number, power = 1) =>
  uniform(n, seed).map((value) => 1 - ((value + 1) / 2) ** power * 0.999)

describe("recurrence", () => {
  const device = testDevice()

  const numbers = (shape: readonly number[], data: Float32Array<ArrayBuffer>) => tensor(device(), shape, data)

  /** A cursor that stands at a position. */
  const at = (position: number) => tensor(device(), [2], Uint32Array.of(position, 0))

  test.each(shapes)("equals the loop over positions for [%i, %i]", async (T, C) => {
    const [a, b] = [decays(T * C, 1), uniform(T * C, 2, 3)]
    const inputs = [numbers([T, C], a), numbers([T, C], b)] as const
    const h = await compute(device(), (run) => recurrence(run, ...inputs))
    expectClose(h, reference.recurrence(a, b, C), { relative: 1e-6 }, { what: `recurrence [${T}, ${C}]` })
    free(device(), ...inputs)
  })

  test("forgets little where decays are near 1, and nothing where they are 1", async () => {
    const [T, C] = [1000, 8]
    for (const [what, a, relative] of [
      ["near 1", decays(T * C, 1, 6), 1e-6],
      ["1", new Float32Array(T * C).fill(1), 3e-6], // the roundings of a thousand sums
    ] as const) {
      const b = uniform(T * C, 2)
      const h = await compute(device(), (run) => recurrence(run, numbers([T, C], a), numbers([T, C], b)))
      expectClose(h, reference.recurrence(a, b, C), { relative }, { what: `recurrence decays ${what}` })
    }
  })

  test("forgets all where a decay is 0: what follows is what it would be alone", async () => {
    const [T, C, cut] = [200, 8, 70]
    const [a, b] = [decays(T * C, 1), uniform(T * C, 2)]
    a.fill(0, cut * C, (cut + 1) * C)
    b.fill(3e38, 0, C) // even where it is huge
    const all = await compute(device(), (run) => recurrence(run, numbers([T, C], a), numbers([T, C], b)))
    const expected = reference.recurrence(a.subarray(cut * C), b.subarray(cut * C), C)
    expectClose(all.subarray(cut * C), expected, { relative: 1e-6 }, { what: "recurrence after a 0" })
  })

  test("goes on from a state, in calls of any length, as one call does", async () => {
    const [T, C] = [1000, 12]
    const [a, b] = [decays(T * C, 1), uniform(T * C, 2, 3)]
    const expected = reference.recurrence(a, b, C)
    const state = numbers([C], uniform(C, 3)) // of another sequence: it counts for nothing
    const run = new Run(device())
    const starts = [0, 300, 301, 365, T]
    const parts = starts.slice(1).map((end, p) => {
      const [T, start] = [end - starts[p]!, starts[p]!]
      const of = (x: Float32Array<ArrayBuffer>) => numbers([T, C], x.slice(start * C, end * C))
      return recurrence(run, of(a), of(b), { h: state, cursor: at(start) })
    })
    for (const [p, h] of (await readAll(device(), run, parts)).entries()) {
      const part = expected.subarray(starts[p]! * C, starts[p + 1]! * C)
      expectClose(h, part, { relative: 1e-6 }, { what: `recurrence from ${starts[p]}` })
      if (p === 3) expect(await read(device(), state)).toEqual(h.slice(-C))
    }
  })

  test.each([1, 64, 65, 130])(
    "begins anew where the position is 0, T = %i, and from the state elsewhere",
    async (T) => {
      const C = 8
      const [a, b, before] = [decays(T * C, 1), uniform(T * C, 2), uniform(C, 3)]
      const inputs = [numbers([T, C], a), numbers([T, C], b)] as const
      const alone = await compute(device(), (run) => recurrence(run, ...inputs))
      const spoilt = numbers([C], new Float32Array(C).fill(Number.NaN))
      const anew = await compute(device(), (run) => recurrence(run, ...inputs, { h: spoilt, cursor: at(0) }))
      expect(anew).toEqual(alone)
      expect(await read(device(), spoilt)).toEqual(alone.slice(-C))
      const state = numbers([C], before)
      const on = await compute(device(), (run) => recurrence(run, ...inputs, { h: state, cursor: at(7) }))
      expectClose(on, reference.recurrence(a, b, C, before), { relative: 1e-6 }, { what: `recurrence on, T = ${T}` })
      expect(await read(device(), state)).toEqual(on.slice(-C))
    },
  )

  test("keeps the states of several calls in a run apart, and goes on each time that the run is made", async () => {
    const C = 4
    const [a, b] = [decays(C, 1), uniform(C, 2)]
    const states = [uniform(C, 3), uniform(C, 4)]
    const kept = states.map((state) => numbers([C], state))
    const cursor = at(5)
    const step = recorded(device(), (run) => {
      for (const h of kept) recurrence(run, numbers([1, C], a), numbers([1, C], b), { h, cursor })
    })
    for (let i = 0; i < 3; i++) step()
    for (const [s, state] of states.entries()) {
      const expected = [1, 2, 3].reduce<ArrayLike<number>>((h) => reference.recurrence(a, b, C, h), state)
      expectClose(await read(device(), kept[s]!), expected, { relative: 1e-6 }, { what: `recurrence state ${s}` })
    }
  })

  test.each([
    [8, [0]],
    [8, [5, 0, null, 9]],
    [260, [null, 1, 2, 3, 0]],
  ])("takes a step of each sequence's own state of %i, at %j", async (C, positions) => {
    const B = positions.length
    const [a, b, before] = [decays(B * C, 1), uniform(B * C, 2), uniform(B * C, 3)]
    for (const [row, position] of positions.entries())
      if (position === 0) before.fill(Number.NaN, row * C, (row + 1) * C)
    const state = numbers([B, C], before)
    const cursor = tensor(
      device(),
      [B + 1, 2],
      Uint32Array.from([...positions, 7].flatMap((position) => [position ?? NO_POSITION, 1])),
    )
    const inputs = [numbers([B, C], a), numbers([B, C], b)] as const
    const h = await compute(device(), (run) => recurrence(run, ...inputs, { h: state, cursor }))
    const after = await read(device(), state)
    for (const [row, position] of positions.entries()) {
      const of = <T extends Float32Array>(x: T) => x.subarray(row * C, (row + 1) * C)
      if (position === null) {
        expect(of(after)).toEqual(of(before))
        continue
      }
      const from = position === 0 ? undefined : of(before)
      expectClose(
        of(h),
        reference.recurrence(of(a), of(b), C, from),
        { relative: 1e-6 },
        { what: `step of row ${row}` },
      )
      expect(of(after)).toEqual(of(h))
      const own = numbers([C], of(before).slice())
      const alone = await compute(device(), (run) =>
        recurrence(run, numbers([1, C], of(a).slice()), numbers([1, C], of(b).slice()), {
          h: own,
          cursor: at(position),
        }),
      )
      expect(alone).toEqual(of(h))
    }
  })

  test("refuses other shapes and types, and a state on a tape", () => {
    const run = new Run(device())
    const [x, h, cursor] = [run.empty([2, 8]), run.empty([8]), run.empty([2], "u32")]
    expect(() => recurrence(run, x, run.empty([3, 8]))).toThrow(
      new RangeError("recurrence: b is [3, 8], expected [2, 8]"),
    )
    expect(() => recurrence(run, run.empty([2, 6]), x)).toThrow(
      new RangeError("recurrence: a has rows of 6, expected a multiple of 4"),
    )
    expect(() => recurrence(run, x, x, { h: run.empty([4]), cursor })).toThrow(
      new RangeError("recurrence: state is [4], expected [8]"),
    )
    expect(() => recurrence(run, x, x, { h: run.empty([3, 8]), cursor })).toThrow(
      new RangeError("recurrence: state is [3, 8], expected [2, 8]"),
    )
    expect(() => recurrence(run, x, x, { h: run.empty([2, 8]), cursor })).toThrow(
      new RangeError("recurrence: cursor is [2], expected [2 or more, 2]"),
    )
    expect(() => recurrence(run, x, x, { h: run.empty([8], "f16"), cursor })).toThrow(
      new TypeError("recurrence: state is f16, expected f32"),
    )
    expect(() => recurrence(run, x, x, { h, cursor: run.empty([2]) })).toThrow(
      new TypeError("recurrence: cursor is f32, expected u32"),
    )
    expect(() => recurrence(new Run(device(), new Tape()), x, x, { h, cursor })).toThrow(
      new RangeError("recurrence: state is given, expected none where gradients are recorded"),
    )
  })
})

describe("recurrence, backward", () => {
  const device = testDevice()

  test.each(shapes)("is the slope of its definition for [%i, %i]", async (T, C) => {
    const [a, b, dh] = [decays(T * C, 1), uniform(T * C, 2), uniform(T * C, 3)]
    const [x, y, output] = [a, b, dh].map((data) => tensor(device(), [T, C], data))
    const [da, db] = await gradients(device(), (run) => recurrence(run, x!, y!), output!, [x!, y!])
    const expected = reference.recurrenceBackward(a, b, C, dh)
    const what = `recurrence [${T}, ${C}]`
    expectClose(da!, expected.da, { relative: 2e-6 }, { what: `${what}, da` })
    expectClose(db!, expected.db, { relative: 1e-6 }, { what: `${what}, db` })
    const byA = { f: (a: Float64Array) => reference.recurrence(a, b, C), x: a, dy: dh }
    const byB = { f: (b: Float64Array) => reference.recurrence(a, b, C), x: b, dy: dh }
    expectSlope(da!, byA, 1e-6, { what: `${what}, da` })
    expectSlope(db!, byB, 1e-6, { what: `${what}, db` })
    free(device(), x!, y!, output!)
  })

  test("goes through two recurrences, one upon the other", async () => {
    const [T, C] = [70, 8]
    const [a, b, dh] = [decays(T * C, 1), uniform(T * C, 2), uniform(T * C, 3)]
    const [x, y, output] = [a, b, dh].map((data) => tensor(device(), [T, C], data))
    const build = (run: Run) => recurrence(run, x!, recurrence(run, x!, y!))
    const [da, db] = await gradients(device(), build, output!, [x!, y!])
    const f = (a: ArrayLike<number>, b: ArrayLike<number>) => reference.recurrence(a, reference.recurrence(a, b, C), C)
    expectSlope(da!, { f: (a) => f(a, b), x: a, dy: dh }, 1e-6, { what: "recurrence twice, da" })
    expectSlope(db!, { f: (b) => f(a, b), x: b, dy: dh }, 1e-6, { what: "recurrence twice, db" })
  })

  test("is 0 for the first position's a, and does not read the a past the last", async () => {
    const [T, C] = [65, 4]
    const [a, b, dh] = [decays(T * C, 1), uniform(T * C, 2), uniform(T * C, 3)]
    a.fill(3e38, 0, C) // no position goes on from it
    const [x, y, output] = [a, b, dh].map((data) => tensor(device(), [T, C], data))
    const [da, db] = await gradients(device(), (run) => recurrence(run, x!, y!), output!, [x!, y!])
    const expected = reference.recurrenceBackward(a, b, C, dh)
    expect([...da!.subarray(0, C)]).toEqual([0, 0, 0, 0])
    expectClose(db!, expected.db, { relative: 1e-6 }, { what: "recurrence db with a huge first a" })
    expect([...db!.subarray(-C)]).toEqual([...dh.subarray(-C)])
  })

  test("refuses dh of another shape", () => {
    const run = new Run(device())
    const x = run.empty([2, 8])
    expect(() => recurrenceBackward(run, x, x, run.empty([2, 4]))).toThrow(
      new RangeError("recurrenceBackward: dh is [2, 4], expected [2, 8]"),
    )
    expect(() => recurrenceBackward(run, x, run.empty([3, 8]), x)).toThrow(
      new RangeError("recurrenceBackward: h is [3, 8], expected [2, 8]"),
    )
  })
})
