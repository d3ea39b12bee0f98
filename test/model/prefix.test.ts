import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import type { Kept, PiecewisePassage } from "../../src/model/network.ts"
import { Prefix } from "../../src/model/prefix.ts"
import { Trail } from "../../src/model/prefix_trail.ts"
import { openTestDevice } from "../helpers/device.ts"
import { random } from "../helpers/random_checkpoint.ts"

let device: Device
beforeAll(async () => {
  device = await openTestDevice()
})
afterAll(() => device?.dispose())

const CONTEXT = 64

/** What a layer is to a prefix: how many slots it has and how far a token sees. */
type Layer = readonly [capacity: number, window: number | null]

/**
 * A passage whose slots hold a number for all that went through it up to their position, so that whatever belongs to other
 * tokens shows.
 */
class Fake {
  readonly kept: readonly Kept[]
  readonly prefix: Prefix
  /** All that was ever written, the newest last: what the slots must hold. */
  readonly slots: number[][]

  constructor(layers: readonly Layer[]) {
    this.kept = layers.map(([capacity, window], i) => {
      return { name: `${i}`, tensor: device.tensor("cache", [capacity, 1], "u32"), window }
    })
    this.slots = layers.map(([capacity]) => new Array<number>(capacity).fill(0))
    const byteLength = layers.reduce((sum, [capacity]) => sum + capacity * 4, 0)
    this.prefix = new Prefix(device, { kept: this.kept, byteLength } as unknown as PiecewisePassage, CONTEXT)
  }

  /** Computes tokens at `at` of a sequence. */
  compute(sequence: readonly number[], at: number, end: number): void {
    for (const { tensor } of this.kept) {
      const capacity = tensor.shape[0]!
      for (let s = at; s < end; s++) device.write(tensor, Uint32Array.of(name(sequence, s)), (s % capacity) * 4)
    }
  }

  /** A prompt in chunks, from where it departs from what is known; gives how many tokens were. */
  prefill(ids: readonly number[], chunk: number): number {
    const known = this.prefix.restore(ids)
    for (let at = known; at < ids.length; at += chunk) {
      const end = Math.min(ids.length, at + chunk)
      this.prefix.reserve(at, end)
      this.compute(ids, at, end)
      this.prefix.append(at, ids.slice(at, end))
    }
    this.prefix.mark()
    return known
  }

  /** Draws tokens behind a prompt that went through; tells of them late, and not at all of the last `untold` steps. */
  decode(prompt: readonly number[], drawn: readonly number[], { batch = 4, untold = 0 } = {}): void {
    const trail = new Trail(this.prefix, prompt)
    const sequence = [...prompt, ...drawn]
    const batches: number[][] = []
    for (let i = 0; i < drawn.length; i += batch) {
      const tokens = drawn.slice(i, i + batch)
      trail.steps(tokens.length)
      this.compute(sequence, prompt.length - 1 + i, prompt.length - 1 + i + tokens.length)
      batches.push(tokens)
      if (batches.length > 1) trail.drawn(batches.shift()!)
    }
    for (const tokens of batches.slice(untold)) trail.drawn(tokens)
  }

  /** Fails unless everything that a token behind these sees is of these. */
  async expectWhole(ids: readonly number[]): Promise<void> {
    for (const { tensor, window } of this.kept) {
      const slots = new Uint32Array(await device.read(tensor))
      const first = window === null ? 0 : Math.max(0, ids.length - window + 1)
      for (let s = first; s < ids.length; s++) {
        expect(slots[s % slots.length], `position ${s} before ${ids.length} of ${tensor.shape[0]}`).toBe(name(ids, s))
      }
    }
  }
}

/** A number for the tokens up to position s (FNV-1a). */
function name(sequence: readonly number[], s: number): number {
  let hash = 0x811c9dc5
  for (let i = 0; i <= s; i++) hash = Math.imul(hash ^ (sequence[i]! + 1), 0x01000193)
  return hash >>> 0
}

const count = (n: number, from = 100) => Array.from({ length: n }, (_, i) => from + i)

describe("prefix", () => {
  // K = 12, W = 8: after e positions one may go back to d if e - 12 <= d - 7, so by 5.
  test.each([
    { behind: 5, known: 25 },
    { behind: 6, known: 0 },
  ])("a ring goes on from $behind positions back", async ({ behind, known }) => {
    const fake = new Fake([
      [CONTEXT, null],
      [12, 8],
    ])
    const ids = count(30)
    fake.prefix.reserve(0, 30)
    fake.compute(ids, 0, 30)
    fake.prefix.append(0, ids)
    const turn = [...ids.slice(0, 30 - behind), 1, 2, 3]
    expect(fake.prefix.restore(turn)).toBe(known)
    await fake.expectWhole(turn.slice(0, known))
  })

  test("going back brings nothing back that was overwritten", async () => {
    const fake = new Fake([
      [CONTEXT, null],
      [12, 8],
    ])
    fake.prefill(count(30), 12) // the ring has positions from 18 on
    const turn = [...count(25), 1]
    expect(fake.prefill(turn, 1)).toBe(25)
    expect(fake.prefix.restore([...count(24), 2])).toBe(0) // it would see position 17
    expect(fake.prefix.restore([...count(25), 2])).toBe(25)
    await fake.expectWhole(count(25))
  })

  test("what a copy holds beyond its mark can be gone on from as well", async () => {
    const fake = new Fake([
      [CONTEXT, null],
      [12, 8],
    ])
    const ids = count(20)
    fake.prefill(ids.slice(0, -1), 4)
    fake.decode(ids, count(40, 200))
    for (const known of [19, 18]) {
      expect(fake.prefix.restore([...ids.slice(0, known), 1])).toBe(known)
      await fake.expectWhole(ids.slice(0, known))
    }
    expect(fake.prefix.restore([...ids.slice(0, 17), 1])).toBe(0) // it was taken with position 22 written
  })

  test("a ring that was never full goes back anywhere", async () => {
    const fake = new Fake([[12, 8]])
    fake.prefill(count(12), 12)
    expect(fake.prefix.restore([...count(3), 1])).toBe(3)
    await fake.expectWhole(count(3))
  })

  test("a recurrence goes on from the very end alone", () => {
    const fake = new Fake([[1, 2]])
    const ids = count(10)
    fake.prefix.reserve(0, 10)
    fake.compute(ids, 0, 10)
    fake.prefix.append(0, ids)
    expect(fake.prefix.restore(ids.slice(0, 9))).toBe(0)
    expect(fake.prefix.restore([...ids, 1])).toBe(10)
  })

  test("layers that see everything go back anywhere and need no copies", () => {
    const fake = new Fake([[CONTEXT, null]])
    const before = device.memory.cache
    fake.prefill(count(40), 8)
    fake.decode(count(40), count(20, 200))
    expect(fake.prefix.restore([...count(7), 1])).toBe(7)
    expect(device.memory.cache).toBe(before)
  })

  test("the same prompt again is known whole, however long its answer was", async () => {
    for (const layers of [
      [[1, 2]],
      [
        [CONTEXT, null],
        [12, 8],
      ],
    ] as const) {
      const fake = new Fake(layers)
      const ids = count(20)
      fake.prefill(ids.slice(0, -1), 4)
      fake.decode(ids, count(40, 200))
      expect(fake.prefill(ids.slice(0, -1), 4)).toBe(19)
      await fake.expectWhole(ids.slice(0, -1))
    }
  })

  test("a turn of a recurrence goes on from a few tokens before the end of the answer", async () => {
    const fake = new Fake([[1, 2]])
    const [ids, answer] = [count(20), count(24, 200)]
    fake.prefill(ids.slice(0, -1), 4)
    fake.decode(ids, answer)
    const turn = [...ids, ...answer.slice(0, 18), 1, 2, 3] // 6 of those drawn were not wanted
    const known = fake.prefill(turn, 4)
    expect(known).toBeGreaterThanOrEqual(18 + 20 - 4)
    await fake.expectWhole(turn)
  })

  test("what was drawn and never told of is not taken for known", async () => {
    const fake = new Fake([
      [CONTEXT, null],
      [24, 8],
    ])
    const [ids, answer] = [count(10), count(16, 200)]
    fake.prefill(ids.slice(0, -1), 4)
    fake.decode(ids, answer, { untold: 1 })
    expect(fake.prefill([...ids, ...answer], 4)).toBe(ids.length - 1 + 12)
    await fake.expectWhole([...ids, ...answer])
  })

  test("nothing is known after forget, and its copies' memory is used again", () => {
    const fake = new Fake([[1, 2]])
    fake.prefill(count(20), 4)
    fake.decode([...count(20), 5], count(12, 200))
    const { cache } = device.memory
    fake.prefix.forget()
    expect(fake.prefix.tokens).toEqual([])
    expect(fake.prefix.restore(count(20))).toBe(0)
    fake.prefill(count(20), 4)
    fake.decode([...count(20), 5], count(12, 200))
    expect(device.memory.cache).toBe(cache)
  })

  test("a device without memory for copies goes on without", async () => {
    const fake = new Fake([[1, 2]])
    const { cache } = device.memory
    const { gpu } = device
    const none = { value: async () => ({ message: "out of memory" }), configurable: true }
    Object.defineProperty(gpu, "popErrorScope", none)
    try {
      for (let turn = 0; turn < 3; turn++) {
        expect(fake.prefill(count(20), 4)).toBe(0)
        fake.decode([...count(20), 5], count(12, 200))
        await fake.prefix.settled
      }
    } finally {
      Reflect.deleteProperty(gpu, "popErrorScope")
    }
    expect(device.memory.cache).toBe(cache)
    expect(fake.prefix.restore(count(20))).toBe(0)
    device.check()
  })

  test.each<{ what: string; layers: Layer[] }>([
    {
      what: "global and local layers",
      layers: [
        [CONTEXT, null],
        [12, 8],
        [20, 16],
      ],
    },
    { what: "local layers alone", layers: [[12, 8]] },
    { what: "a recurrence", layers: [[1, 2]] },
    {
      what: "a recurrence and a global layer",
      layers: [
        [1, 2],
        [CONTEXT, null],
      ],
    },
  ])("with $what nothing that is reused is of other tokens, in 60 random conversations", async ({ layers }) => {
    const next = random(5)
    const below = (n: number) => Math.floor(next() * n)
    const fake = new Fake(layers)
    const past: number[][] = [[]]
    let reused = 0
    for (let round = 0; round < 60; round++) {
      const old = past[Math.max(0, past.length - 1 - below(3))]!
      const kept = next() < 0.5 ? old.length : below(old.length + 1)
      const ids = [...old.slice(0, Math.min(kept, 35)), ...Array.from({ length: 1 + below(10) }, () => below(3))]
      const known = fake.prefill(ids.slice(0, -1), 1 + below(5))
      reused += known
      await fake.expectWhole(ids.slice(0, -1))
      const answer = Array.from({ length: 1 + below(18) }, () => below(3))
      fake.decode(ids, answer, { batch: 1 + below(4), untold: below(4) === 0 ? 1 : 0 })
      past.push([...ids, ...answer.slice(0, below(answer.length + 1))])
      if (below(15) === 0) fake.prefix.forget()
    }
    expect(reused).toBeGreaterThan(300)
  })
})
