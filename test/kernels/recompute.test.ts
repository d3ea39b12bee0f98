import { describe, expect, test } from "vitest"
import { add } from "../../src/kernels/add.ts"
import { glu } from "../../src/kernels/glu.ts"
import { linear } from "../../src/kernels/linear.ts"
import { recompute } from "../../src/kernels/recompute.ts"
import { rmsNorm } from "../../src/kernels/rms_norm.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { Tape, type Variable } from "../../src/kernels/tape.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, matrix, tensor, testDevice, uniform, weights } from "../helpers/kernels.ts"
import * as gated from "../reference/glu.ts"
import * as product from "../reference/linear.ts"
import * as norm from "../reference/rms_norm.ts"

type Numbers = ArrayLike<number>
type Wrap = (run: Run, x: Tensor, part: (x: Tensor) => Tensor) => Tensor

/** The part as it is, for comparison. */
const plain: Wrap = (_, x, part) => part(x)

describe("recompute", () => {
  const device = testDevice()
  const [T, C, F] = [5, 36, 52]
  const options = { eps: 1e-6, offset: 1 }

  /** A gated MLP with a residual, stacked: up and the norms' weight are the same in every part, gates and down are not. */
  function stack(depth: number) {
    const data = {
      x: uniform(T * C, 1),
      weight: uniform(C, 2),
      up: weights(F * C, 3, "f32"),
      gates: Array.from({ length: depth }, (_, i) => weights(F * C, 10 + i, "bf16")),
      downs: Array.from({ length: depth }, (_, i) => weights(C * F, 50 + i, "f16")),
      dy: uniform(T * C, 4),
    }
    const x = tensor(device(), [T, C], data.x)
    const weight = tensor(device(), [C], data.weight)
    const up = matrix(device(), [F, C], data.up, 20) // in parts
    const gates = data.gates.map((gate) => matrix(device(), [F, C], gate))
    const downs = data.downs.map((down) => matrix(device(), [C, F], down))
    const part = (run: Run, x: Tensor, i: number) => {
      const h = rmsNorm(run, x, weight, options)
      return add(run, x, linear(run, glu(run, linear(run, h, gates[i]!), linear(run, h, up), "silu"), downs[i]!))
    }
    const build = (run: Run, wrap: Wrap) => gates.reduce((x, _, i) => wrap(run, x, (x) => part(run, x, i)), x)
    return { data, x, weight, up, gates, downs, dy: tensor(device(), [T, C], data.dy), build }
  }

  /** The definition of a stack. */
  function define(data: ReturnType<typeof stack>["data"], x: Numbers, weight: Numbers, up: Numbers): Float64Array {
    return data.gates.reduce((x, gate, i) => {
      const h = norm.rmsNorm(x, weight, options)
      const m = gated.glu(product.linear(h, gate.values, C), product.linear(h, up, C), "silu")
      return product.linear(m, data.downs[i]!.values, F).map((value, j) => value + x[j]!)
    }, Float64Array.from(x))
  }

  /** A run that ends with the gradients of a stack, kept. */
  function record({ build, dy }: ReturnType<typeof stack>, wrap: Wrap, wrt: readonly Variable[]): Run {
    const tape = new Tape()
    const run = new Run(device(), tape)
    for (const gradient of tape.gradients(run, build(run, wrap), dy, wrt)) {
      for (const x of gradient && "parts" in gradient ? gradient.parts.map((part) => part.tensor) : [gradient!]) {
        run.keep(x)
      }
    }
    return run
  }

  function dispatches(run: Run): number {
    const pool = new ScratchPool(device())
    const plan = run.plan(pool)
    const count = plan.dispatches
    plan.dispose()
    pool.dispose()
    return count
  }

  test("gives the same gradients to the bit, of weights that parts share too", async () => {
    const s = stack(3)
    const wrt = [s.x, s.weight, s.up, ...s.gates, ...s.downs]
    const kept = await gradients(device(), (run) => s.build(run, plain), s.dy, wrt)
    const again = await gradients(device(), (run) => s.build(run, recompute), s.dy, wrt)
    expect(kept).toHaveLength(wrt.length)
    expect(kept.every((gradient) => gradient.some((value) => value !== 0))).toBe(true)
    expect(again).toEqual(kept)
  })

  test("gives the slope of the definition", async () => {
    const s = stack(2)
    const build = (run: Run) => s.build(run, recompute)
    const [dx, dweight, dup] = await gradients(device(), build, s.dy, [s.x, s.weight, s.up])
    const { data } = s
    const { x, weight, dy } = data
    const up = data.up.values
    expectSlope(dx!, { f: (x) => define(data, x, weight, up), x, dy }, 2e-6, { what: "recompute dx" })
    const byWeight = { f: (w: Float64Array) => define(data, x, w, up), x: weight, dy }
    expectSlope(dweight!, byWeight, 2e-6, { what: "recompute dweight" })
    const byUp = { f: (up: Float64Array) => define(data, x, weight, up), x: up, dy }
    expectSlope(dup!, byUp, 2e-6, { what: "recompute dup" })
  })

  test("gives the same within a part that is itself recomputed", async () => {
    const s = stack(4)
    const wrt = [s.x, s.weight, s.up, ...s.gates, ...s.downs]
    const twice: Wrap = (run, x, part) => recompute(run, x, (x) => recompute(run, x, part))
    const kept = await gradients(device(), (run) => s.build(run, plain), s.dy, wrt)
    expect(await gradients(device(), (run) => s.build(run, twice), s.dy, wrt)).toEqual(kept)
    const whole = (run: Run) => recompute(run, s.x, () => s.build(run, recompute))
    expect(await gradients(device(), whole, s.dy, wrt)).toEqual(kept)
  })

  test("leaves the output as it is, to the bit", async () => {
    const s = stack(3)
    const y = await compute(device(), (run) => s.build(run, plain))
    const tape = new Tape()
    const pool = new ScratchPool(device())
    const run = new Run(device(), tape)
    const again = run.keep(s.build(run, recompute))
    for (const gradient of tape.gradients(run, again, s.dy, [s.x, s.weight])) run.keep(gradient as Tensor)
    const plan = run.plan(pool)
    plan.submit()
    expect(new Float32Array(await device().read(again))).toEqual(y)
    plan.dispose()
    pool.dispose()
  })

  test("takes less scratch for a deep stack: one output for each part more", () => {
    const bytes = (depth: number, wrap: Wrap) => {
      const s = stack(depth)
      return record(s, wrap, [s.x, s.weight]).bytes
    }
    const one = T * C * 4
    expect(bytes(16, recompute) - bytes(8, recompute)).toBe(8 * one)
    expect(bytes(16, plain) - bytes(8, plain)).toBe(8 * (one + 2 * T * F * 4)) // gate and up as well
    expect(bytes(16, recompute)).toBeLessThan(bytes(16, plain) / 2)
  })

  test("records a part again where its gradients are wanted, and of it only what they need", () => {
    const s = stack(3)
    const more = (wrt: readonly Variable[]) => dispatches(record(s, recompute, wrt)) - dispatches(record(s, plain, wrt))
    // The norm, the gate and three parts of up. Of the last part nothing is recorded twice, as nobody reads its output.
    expect(more([s.x])).toBe(2 * 5)
    expect(more([s.downs[1]!])).toBe(6) // and the product
    expect(more([s.downs[2]!])).toBe(0)
  })

  test("records nothing twice without a tape", () => {
    const s = stack(3)
    const calls: Tensor[] = []
    const run = new Run(device())
    run.keep(
      s.build(run, (run, x, part) =>
        recompute(run, x, (x) => {
          calls.push(x)
          return part(x)
        }),
      ),
    )
    const other = new Run(device())
    other.keep(s.build(other, plain))
    expect(calls).toHaveLength(3)
    expect(dispatches(run)).toBe(dispatches(other))
    expect(run.bytes).toBe(other.bytes)
  })
})
