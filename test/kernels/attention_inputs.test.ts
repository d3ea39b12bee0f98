import { describe, expect, test } from "vitest"
import { attentionInputs, type Projections } from "../../src/kernels/attention_inputs.ts"
import { ropeTables } from "../../src/kernels/rope.ts"
import { Run } from "../../src/kernels/run.ts"
import { attention_inputs } from "../../src/kernels/shaders.ts"
import { Tape } from "../../src/kernels/tape.ts"
import { type Tensor, view } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { readAll } from "../helpers/gradients.ts"
import { free, tensor, testDevice, uniform, WEIGHT_DTYPES, type WeightDtype, weights } from "../helpers/kernels.ts"
import * as reference from "../reference/attention_inputs.ts"

interface Case {
  readonly T: number
  readonly H: number
  readonly G: number
  readonly D: number
  readonly position: number
  /** Types of the norms of q and k; no norms without. */
  readonly dtypes?: readonly [q: WeightDtype, k: WeightDtype]
  /** Slots of the cache; no cache without. */
  readonly capacity?: number
}

type Way = "one" | "three" | "tape"

const ROTATION = { theta: 1e6, factor: 8 }
const OPTIONS = { eps: 1e-6, offset: 1 }

describe("attentionInputs", () => {
  const device = testDevice()

  /**
   * What it gives for `x` `[T, (H + 2G) D]`, as one tensor, in three, or in three on a tape, and its definition. Slots that are not
   * written are -7.
   */
  async function both(
    x: Float32Array<ArrayBuffer>,
    { T, H, G, D, position, dtypes, capacity }: Case,
    way: Way = "one",
  ) {
    const norms = dtypes && { q: weights(D, 3, dtypes[0]), k: weights(D, 4, dtypes[1]), ...OPTIONS }
    const [slots, first] = capacity === undefined ? [T, 0] : [capacity, position]
    const held = { slots: new Float32Array(slots * G * D).fill(-7) }
    const made: Tensor[] = []
    const put = (...args: Parameters<typeof tensor> extends [unknown, ...infer R] ? R : never) => {
      made.push(tensor(device(), ...args))
      return made.at(-1)!
    }
    const cache =
      capacity === undefined ? undefined : { k: put([slots, G, D], held.slots), v: put([slots, G, D], held.slots) }
    const table = ropeTables(device(), { headDim: D, ...ROTATION }, position + T)
    const options = {
      H,
      G,
      D,
      norms: norms && { ...norms, q: put([D], norms.q), k: put([D], norms.k) },
      table,
      cursor: put([2], Uint32Array.of(position, 0)),
      cache,
    }
    const projections = (way !== "one" ? columns(x, T, [H * D, G * D, G * D]) : [x]).map((part) =>
      put([T, part.length / T], part),
    )
    const run = new Run(device(), way === "tape" ? new Tape() : undefined)
    const result = attentionInputs(run, (way !== "one" ? projections : projections[0]!) as Projections, options)
    const [q, k, v] = await readAll(device(), run, [result.q, result.cache.k, result.cache.v])
    free(device(), table, ...made)
    const values = norms && { ...norms, q: norms.q.values, k: norms.k.values }
    const expected = reference.attentionInputs(x, { H, G, D, position, norms: values, ...ROTATION })
    const inSlots = (rows: Float64Array) => {
      const all = capacity === undefined ? new Float64Array(slots * G * D) : Float64Array.from(held.slots)
      for (let t = 0; t < T; t++) {
        const row = rows.subarray(t * G * D, (t + 1) * G * D)
        all.set(row, ((first + t) % slots) * G * D)
      }
      return all
    }
    return { q: [q!, expected.q], k: [k!, inSlots(expected.k)], v: [v!, inSlots(expected.v)] } as const
  }

  /** The columns of rows, part by part. */
  function columns(x: Float32Array<ArrayBuffer>, T: number, widths: readonly number[]): Float32Array<ArrayBuffer>[] {
    const C = x.length / T
    let first = 0
    return widths.map((width) => {
      const start = first
      first += width
      return Float32Array.from({ length: T * width }, (_, i) => x[Math.floor(i / width) * C + start + (i % width)]!)
    })
  }

  async function check(x: Float32Array<ArrayBuffer>, shape: Case, way: Way = "one"): Promise<void> {
    const { q, k, v } = await both(x, shape, way)
    const what = `attentionInputs D ${shape.D} at ${shape.position}`
    expectClose(q[0], q[1], { absolute: 1e-6, relative: 1e-6 }, { what: `${what}, q` })
    expectClose(k[0], k[1], { absolute: 1e-6, relative: 1e-6 }, { what: `${what}, k` })
    expectClose(v[0], v[1], {}, { what: `${what}, v` })
  }

  const shapes = [
    { H: 4, G: 1, D: 256 },
    { H: 8, G: 4, D: 64 },
    { H: 3, G: 3, D: 12 },
    { H: 2, G: 1, D: 4 },
    { H: 1, G: 1, D: 132 },
  ]

  test.each(shapes)("equals its definition for H $H, G $G, D $D, with norms and a cache", async (shape) => {
    const x = (T: number) => uniform(T * (shape.H + 2 * shape.G) * shape.D, 1, 3)
    for (const [i, q] of WEIGHT_DTYPES.entries()) {
      const dtypes = [q, WEIGHT_DTYPES[(i + 1) % 3]!] as const
      await check(x(1), { ...shape, T: 1, position: 131_071, dtypes, capacity: 5 })
      await check(x(5), { ...shape, T: 5, position: 253, dtypes, capacity: 7 }) // over the ring's end and a row of the table
    }
    await check(x(33), { ...shape, T: 33, position: 0, dtypes: ["f32", "f32"], capacity: 64 })
  })

  test.each(shapes)("equals it without norms, and without a cache, H $H, G $G, D $D", async (shape) => {
    const x = uniform(5 * (shape.H + 2 * shape.G) * shape.D, 1, 3)
    await check(x, { ...shape, T: 5, position: 1000, capacity: 16 })
    await check(x, { ...shape, T: 5, position: 0 })
    await check(x, { ...shape, T: 5, position: 0, dtypes: ["bf16", "bf16"] })
  })

  test("gives the same for q, k and v in three tensors, to the bit, and on a tape to rounding", async () => {
    const x = uniform(5 * 6 * 64, 1, 3)
    const shape = { T: 5, H: 4, G: 1, D: 64, position: 300 }
    for (const kind of [{ ...shape, dtypes: ["bf16", "f32"] as const, capacity: 8 }, shape]) {
      const one = await both(x, kind)
      const three = await both(x, kind, "three")
      for (const name of ["q", "k", "v"] as const) expect(three[name][0]).toEqual(one[name][0])
      await check(x, kind, "tape")
    }
  })

  test("counts its heads over two dimensions of workgroups and ignores those past the last", async () => {
    const [T, H, G, D] = [33, 2, 1, 8]
    const x = uniform(T * (H + 2 * G) * D, 1)
    const table = ropeTables(device(), { headDim: D, ...ROTATION }, T)
    const [input, cursor] = [tensor(device(), [T, (H + 2 * G) * D], x), tensor(device(), [2], Uint32Array.of(0, 0))]
    const run = new Run(device())
    const [q, k, v] = [run.empty([T, H, D]), run.empty([T, G, D]), run.empty([T, G, D])]
    const buffers = { x: input, q_norm: table, k_norm: table, table, cursor, q, k_slots: k, v_slots: v }
    const params = { T, q_heads: H, k_heads: G, v_heads: G, G, D4: D / 4, capacity: T, batch: 0, eps: 0, offset: 0 }
    run.dispatch(attention_inputs, buffers, params, [5, 4])
    const results = await readAll(device(), run, [q, k, v])
    const expected = reference.attentionInputs(x, { H, G, D, position: 0, ...ROTATION })
    for (const [i, name] of (["q", "k", "v"] as const).entries()) {
      expectClose(results[i]!, expected[name], { absolute: 1e-6 }, { what: `attentionInputs folded ${name}` })
    }
    free(device(), table, input, cursor)
  })

  test("refuses shapes that do not fit, and one tensor on a tape", () => {
    const run = new Run(device())
    const [table, cursor] = [run.empty([257, 8, 2]), run.empty([2], "u32")]
    const options = { H: 2, G: 1, D: 16, table, cursor }
    const x = run.empty([3, 64])
    const cache = (slots: number) => ({ k: run.empty([slots, 1, 16]), v: run.empty([slots, 1, 16]) })
    expect(() => attentionInputs(run, run.empty([3, 48]), options)).toThrow(
      new RangeError("attentionInputs: x is [3, 48], expected [3, 64]"),
    )
    expect(() => attentionInputs(run, x, { ...options, table: run.empty([257, 4, 2]) })).toThrow(
      new RangeError("attentionInputs: table is [257, 4, 2], expected [257, 8, 2]"),
    )
    expect(() => attentionInputs(run, x, { ...options, cache: cache(2) })).toThrow(
      new RangeError("attentionInputs: T is 3, expected at most the capacity 2"),
    )
    expect(() => attentionInputs(run, x, { ...options, cache: { ...cache(4), v: run.empty([4, 2, 8]) } })).toThrow(
      new RangeError("attentionInputs: v is [4, 2, 8], expected [4, 1, 16]"),
    )
    const norms = { q: run.empty([16]), k: run.empty([12]), ...OPTIONS }
    expect(() => attentionInputs(run, x, { ...options, norms })).toThrow(
      new RangeError("attentionInputs: norm is [12], expected [16]"),
    )
    for (const D of [6, 260]) {
      expect(() => attentionInputs(run, x, { ...options, D })).toThrow(
        new RangeError(`attentionInputs: D is ${D}, expected a multiple of 4 up to 256`),
      )
    }
    expect(() => attentionInputs(run, view(x, [16, 12]), { ...options, H: 1, D: 4.5 })).toThrow(RangeError)
    expect(() => attentionInputs(new Run(device(), new Tape()), x, options)).toThrow(
      new TypeError("attentionInputs: q, k and v are one tensor, expected three on a tape"),
    )
  })
})
