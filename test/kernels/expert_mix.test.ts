import { describe, expect, test } from "vitest"
import {
  type ExpertOptions,
  expertMix,
  expertMixBackward,
  expertMixBackwardGates,
} from "../../src/kernels/expert_mix.ts"
import { Run } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Matrix, Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  repeat,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  type Weights,
  weights,
} from "../helpers/kernels.ts"
import * as reference from "../reference/expert_mix.ts"

const kinds = (["softmax", "sigmoid", "none"] as const).flatMap((gate) =>
  (["tanh", "identity"] as const).map((activation) => ({ gate, activation })),
)
const shapes = [1, 5, 65].flatMap((T) => [1, 2, 3, 4, 8].flatMap((K) => [4, 16, 32].map((R) => [T, K, R] as const)))

describe("expertMix", () => {
  const device = testDevice()

  interface Case {
    readonly data: { h: Float32Array; logits: Float32Array | undefined; c: Weights; dy: Float32Array }
    readonly on: { h: Tensor; logits: Tensor | undefined; c: Matrix; dy: Tensor }
    readonly mix: reference.Mix
    readonly options: ExpertOptions
  }

  function prepare(
    [T, K, R]: readonly [number, number, number],
    kind: Omit<ExpertOptions, "experts">,
    c = weights(K * R * R, 3, "f32"),
    [ofH, ofLogits] = [2, 2],
  ): Case {
    const [h, s, dy] = [uniform(T * K * R, 1, ofH), uniform(T * K, 2, ofLogits), uniform(T * K * R, 4)]
    const gated = kind.gate !== "none"
    return {
      data: { h, logits: gated ? s : undefined, c, dy },
      on: {
        h: tensor(device(), [T, K * R], h),
        logits: gated ? tensor(device(), [T, K], s) : undefined,
        c: matrix(device(), [K * R, R], c),
        dy: tensor(device(), [T, K * R], dy),
      },
      mix: { K, R, ...kind },
      options: { experts: K, ...kind },
    }
  }

  const build =
    ({ on, options }: Case) =>
    (run: Run) =>
      expertMix(run, on.h, on.logits, on.c, options)

  const release = ({ on: { h, logits, c, dy } }: Case) => free(device(), h, c, dy, ...(logits ? [logits] : []))

  async function expectForward(one: Case, what: string): Promise<void> {
    const { h, logits, c } = one.data
    const y = await compute(device(), build(one))
    expectClose(y, reference.expertMix(h, logits, c.values, one.mix), { relative: 4e-6 }, { what })
  }

  async function expectBackward(one: Case, what: string): Promise<void> {
    const { on, mix } = one
    const { h, logits, c, dy } = one.data
    const wrt = [on.h, on.c, ...(on.logits ? [on.logits] : [])]
    const [dh, dc, dlogits] = await gradients(device(), build(one), on.dy, wrt)
    const expected = reference.expertMixBackward(h, logits, c.values, dy, mix)
    expectClose(dh!, expected.dh, { relative: 8e-6 }, { what: `${what}, dh` })
    expectClose(dc!, expected.dc, { relative: 8e-6 }, { what: `${what}, dc` })
    const ofH = { f: (x: Float64Array) => reference.expertMix(x, logits, c.values, mix), x: h, dy }
    const ofC = { f: (x: Float64Array) => reference.expertMix(h, logits, x, mix), x: c.values, dy }
    expectSlope(dh!, ofH, 2e-6, { what: `${what}, dh` })
    expectSlope(dc!, ofC, 2e-6, { what: `${what}, dc` })
    if (!logits) return
    expectClose(dlogits!, expected.dlogits, { relative: 4e-6, absolute: 1e-7 }, { what: `${what}, dlogits` })
    if (mix.K === 1 && mix.gate === "softmax") return // no slope: the one gate is always 1
    const ofLogits = { f: (x: Float64Array) => reference.expertMix(h, x, c.values, mix), x: logits, dy }
    expectSlope(dlogits!, ofLogits, 4e-6, { what: `${what}, dlogits` })
  }

  test.each(shapes)(
    "equals its definition, and its gradients the slope, for T = %i, K = %i, R = %i",
    async (...shape) => {
      const one = prepare(shape, { gate: "softmax", activation: "tanh" })
      await expectForward(one, "expertMix")
      await expectBackward(one, "expertMix")
      release(one)
    },
  )

  test.each(kinds)("does so with gate $gate and activation $activation", async (kind) => {
    for (const shape of [
      [1, 3, 4],
      [5, 1, 16],
      [65, 4, 12],
    ] as const) {
      const one = prepare(shape, kind)
      const what = `expertMix ${kind.gate} ${kind.activation} [${shape}]`
      await expectForward(one, what)
      await expectBackward(one, what)
      release(one)
    }
  })

  test.each(WEIGHT_DTYPES)("does so with matrices in %s", async (dtype) => {
    const [T, K, R] = [5, 3, 16]
    const one = prepare([T, K, R], { gate: "softmax", activation: "tanh" }, weights(K * R * R, 5, dtype))
    await expectForward(one, `expertMix ${dtype}`)
    await expectBackward(one, `expertMix ${dtype}`)
    release(one)
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [T, K, R, period] = [140_000, 2, 64, 7]
    const kind = { gate: "sigmoid", activation: "identity" } as const
    const [h, logits, c] = [uniform(period * K * R, 1), uniform(period * K, 2), weights(K * R * R, 3, "f32")]
    const inputs = [
      tensor(device(), [T, K * R], repeat(h, T * K * R)),
      tensor(device(), [T, K], repeat(logits, T * K)),
    ] as const
    const own = matrix(device(), [K * R, R], c)
    const y = await compute(device(), (run) => expertMix(run, ...inputs, own, { experts: K, ...kind }))
    const block = y.slice(0, period * K * R)
    const expected = reference.expertMix(h, logits, c.values, { K, R, ...kind })
    expectClose(block, expected, { relative: 2e-6 }, { what: "expertMix block" })
    expect(Buffer.compare(Buffer.from(y.buffer), Buffer.from(repeat(block, T * K * R).buffer))).toBe(0)
    free(device(), ...inputs, own)
  })

  test.each(kinds)("is right and never NaN at 1e4 with gate $gate and activation $activation", async (kind) => {
    for (const sizes of [
      [1e4, 2],
      [2, 1e4],
      [1e4, 1e4],
    ] as const) {
      const one = prepare([5, 4, 16], kind, undefined, [...sizes])
      const what = `expertMix ${kind.gate} ${kind.activation} at ${sizes}`
      await expectForward(one, what)
      const { on, data, mix } = one
      const wrt = [on.h, on.c, ...(on.logits ? [on.logits] : [])]
      const all = await gradients(device(), build(one), on.dy, wrt)
      const { dh, dc, dlogits } = reference.expertMixBackward(data.h, data.logits, data.c.values, data.dy, mix)
      for (const [i, expected] of [dh, dc, ...(on.logits ? [dlogits] : [])].entries()) {
        expectClose(all[i]!, expected, { relative: 8e-6, absolute: 1e-6 }, { what: `${what}, gradient ${i}` })
      }
      release(one)
    }
  })

  test("adds the gradient of its matrices onto a sum that is given", async () => {
    const one = prepare([5, 3, 8], { gate: "sigmoid", activation: "tanh" }, weights(3 * 8 * 8, 5, "bf16"))
    const { on, data, mix } = one
    const before = weights(3 * 8 * 8, 6, "f32")
    const sum = matrix(device(), [24, 8], before)
    const tape = new Tape()
    const run = new Run(device(), tape)
    const [dc] = tape.gradients(run, build(one)(run), on.dy, [on.c], [sum])
    expect(dc).toBe(sum)
    const [after] = await readAll(device(), run, [sum])
    const expected = reference.expertMixBackward(data.h, data.logits, data.c.values, data.dy, mix).dc
    const total = expected.map((value, i) => value + before.values[i]!)
    expectClose(after!, total, { relative: 4e-6 }, { what: "expertMix, dc onto a sum" })
    release(one)
  })

  test("keeps each expert to itself: what changes one leaves the others as they are", async () => {
    const [T, K, R] = [3, 4, 8]
    const kind = { gate: "sigmoid", activation: "tanh" } as const
    const one = prepare([T, K, R], kind)
    const changed = one.data.h.map((value, i) => (Math.floor(i / R) % K === 2 ? -value : value))
    const other = tensor(device(), [T, K * R], changed as Float32Array<ArrayBuffer>)
    const before = await compute(device(), build(one))
    const after = await compute(device(), build({ ...one, on: { ...one.on, h: other } }))
    const same = before.map((value, i) => (value === after[i] ? 1 : 0))
    expect([...same]).toEqual(Array.from({ length: T * K * R }, (_, i) => (Math.floor(i / R) % K === 2 ? 0 : 1)))
  })

  test("refuses widths, gates and matrices that do not fit", () => {
    const run = new Run(device())
    const c = (rows: number, columns: number, most?: number) =>
      matrix(device(), [rows, columns], weights(rows * columns, 1, "f32"), most)
    const options = { experts: 3, gate: "softmax", activation: "tanh" } as const
    const h = run.empty([2, 24])
    const s = run.empty([2, 3])
    for (const experts of [0, 5, 12, 1.5]) {
      expect(() => expertMix(run, h, s, c(24, 8), { ...options, experts })).toThrow(
        new RangeError(`expertMix: h has rows of 24, expected a multiple of 4 for each of ${experts} experts`),
      )
    }
    expect(() => expertMix(run, h, s, c(24, 12), options)).toThrow(
      new RangeError("expertMix: c is [24, 12], expected [24, 8]"),
    )
    expect(() => expertMix(run, h, s, c(24, 8, 8), options)).toThrow(
      new RangeError("expertMix: c has 3 parts, expected 1"),
    )
    expect(() => expertMix(run, h, run.empty([2, 4]), c(24, 8), options)).toThrow(
      new RangeError("expertMix: logits is [2, 4], expected [2, 3]"),
    )
    expect(() => expertMix(run, h, undefined, c(24, 8), options)).toThrow(
      new TypeError("expertMix: logits are missing, expected [T, K] with gate softmax"),
    )
    expect(() => expertMix(run, h, s, c(24, 8), { ...options, gate: "none" })).toThrow(
      new TypeError("expertMix: logits are given, expected none with gate none"),
    )
    const dy = run.empty([2, 12])
    expect(() => expertMixBackward(run, h, s, c(24, 8), dy, options)).toThrow(
      new RangeError("expertMixBackward: dy is [2, 12], expected [2, 24]"),
    )
    expect(() => expertMixBackward(run, h, s, c(24, 8), h, options, c(24, 8, 12))).toThrow(
      new RangeError("expertMixBackward: onto has 2 parts, expected 1"),
    )
    expect(() => expertMixBackwardGates(run, s, h, dy, "softmax")).toThrow(
      new RangeError("expertMixBackwardGates: dy is [2, 12], expected [2, 24]"),
    )
  })
})
