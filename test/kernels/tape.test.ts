import { describe, expect, test } from "vitest"
import { add } from "../../src/kernels/add.ts"
import { embed } from "../../src/kernels/embed.ts"
import { glu } from "../../src/kernels/glu.ts"
import { rmsNorm } from "../../src/kernels/rms_norm.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { softcap } from "../../src/kernels/softcap.ts"
import { Tape, type Variable } from "../../src/kernels/tape.ts"
import { type Tensor, view } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { matrix, tensor, testDevice, uniform, weights } from "../helpers/kernels.ts"
import * as embedding from "../reference/embed.ts"
import * as gated from "../reference/glu.ts"
import * as norm from "../reference/rms_norm.ts"

describe("Tape", () => {
  const device = testDevice()
  const [T, C] = [5, 36]
  const options = { eps: 1e-6, offset: 1 }
  const random = (seed: number) => tensor(device(), [T, C], uniform(T * C, seed))

  /** A run with the gradients that are wanted kept, and how many dispatches it makes. */
  function dispatches(build: (run: Run) => Tensor, wrt: readonly Variable[]): number {
    const tape = new Tape()
    const run = new Run(device(), tape)
    const pool = new ScratchPool(device())
    for (const gradient of tape.gradients(run, build(run), random(9), wrt)) {
      for (const x of gradient && "parts" in gradient ? gradient.parts.map((part) => part.tensor) : [gradient]) {
        run.keep(x!)
      }
    }
    const plan = run.plan(pool)
    const count = plan.dispatches
    plan.dispose()
    pool.dispose()
    return count
  }

  test("sums the gradients of a tensor with several uses", async () => {
    const [x, dy] = [random(1), uniform(T * C, 2)]
    const output = tensor(device(), [T, C], dy)
    const four = (run: Run) => {
      const two = add(run, x, x)
      return add(run, two, two)
    }
    const [dx] = await gradients(device(), four, output, [x])
    expect(dx).toEqual(dy.map((value) => 4 * value))
  })

  test("passes gradients through a block with a residual: the slope of its definition", async () => {
    const data = { x: uniform(T * C, 1), weight: uniform(C, 2), dy: uniform(T * C, 3) }
    const x = tensor(device(), [T, C], data.x)
    const weight = tensor(device(), [C], data.weight)
    const build = (run: Run) => {
      const a = rmsNorm(run, x, weight, options)
      const b = rmsNorm(run, glu(run, a, x, "silu"), weight, options) // weight and x are used again
      return add(run, x, b)
    }
    const output = tensor(device(), [T, C], data.dy)
    const [dx, dweight] = await gradients(device(), build, output, [x, weight])
    const f = (x: ArrayLike<number>, weight: ArrayLike<number>) => {
      const a = norm.rmsNorm(x, weight, options)
      const b = norm.rmsNorm(gated.glu(a, x, "silu"), weight, options)
      return b.map((value, i) => value + x[i]!)
    }
    expectSlope(dx!, { f: (x) => f(x, data.weight), x: data.x, dy: data.dy }, 1e-6, { what: "tape dx" })
    expectSlope(dweight!, { f: (w) => f(data.x, w), x: data.weight, dy: data.dy }, 1e-6, { what: "tape dweight" })
  })

  test("sums the gradients of a matrix with several uses", async () => {
    const V = 7
    const lists = [Uint32Array.of(1, 2, 2, 0, 6), Uint32Array.of(2, 2, 5, 4, 1)] as const
    const [a, b] = lists.map((list) => tensor(device(), [T], list)) as [Tensor, Tensor]
    const w = matrix(device(), [V, C], weights(V * C, 1, "bf16"))
    const dy = uniform(T * C, 2)
    const build = (run: Run) => add(run, embed(run, a, w, 2), embed(run, b, w, 3))
    const [dweight] = await gradients(device(), build, tensor(device(), [T, C], dy), [w])
    const [first, second] = [
      embedding.embedBackward(lists[0], dy, [V, C], 2),
      embedding.embedBackward(lists[1], dy, [V, C], 3),
    ]
    const expected = first.map((value, i) => value + second[i]!)
    expectClose(dweight!, expected, { relative: 1e-6 }, { what: "tape matrix" })
  })

  test("lets views share the gradient of what they look at, in the shape of each", async () => {
    const x = random(1)
    const dy = uniform(T * C, 2)
    const tape = new Tape()
    const run = new Run(device(), tape)
    const y = add(run, view(x, [3 * T, C / 3]), view(view(x, [T * C]), [3 * T, C / 3]))
    const shaped = softcap(run, view(y, [T, 3, C / 3]), 1e6)
    const output = tensor(device(), [T, 3, C / 3], dy)
    const flat = view(x, [T * C])
    const [dx, dflat, dy2] = tape.gradients(run, shaped, output, [x, flat, view(y, [1, T * C])]) as Tensor[]
    expect([dx!.shape, dflat!.shape, dy2!.shape]).toEqual([[T, C], [T * C], [1, T * C]])
    expect(dflat!.storage).toBe(dx!.storage)
    const pool = new ScratchPool(device())
    run.keep(dx!)
    const plan = run.plan(pool)
    plan.submit()
    const data = new Float32Array(await device().read(dx!))
    expectClose(
      data,
      Float64Array.from(dy, (value) => 2 * value),
      { relative: 1e-6 },
      { what: "tape views" },
    )
    plan.dispose()
    pool.dispose()
  })

  test("sums gradients that are no rows of vec4s: heads, and vectors", async () => {
    const [T, H, D] = [3, 2, 4]
    const dy = uniform(T * H * D, 1)
    const x = tensor(device(), [T, H, D], uniform(T * H * D, 2))
    const output = tensor(device(), [T, H * D], dy)
    const build = (run: Run) => {
      const [a, b] = [softcap(run, x, 1e6), softcap(run, x, 1e6)]
      return add(run, view(a, [T, H * D]), view(b, [T, H * D]))
    }
    const [dx] = await gradients(device(), build, output, [x])
    expectClose(
      dx!,
      Float64Array.from(dy, (value) => 2 * value),
      { relative: 1e-6 },
      { what: "tape heads" },
    )
  })

  test("gives y itself dy, and undefined for what y does not depend on", () => {
    const tape = new Tape()
    const run = new Run(device(), tape)
    const [x, other, dy] = [random(1), random(2), random(3)]
    const unused = matrix(device(), [4, C], weights(4 * C, 1, "f32"))
    const y = add(run, x, x)
    const later = add(run, y, other)
    const [own, none, table, after] = tape.gradients(run, y, dy, [y, other, unused, later])
    expect((own as Tensor).storage).toBe(dy.storage)
    expect([none, table, after]).toEqual([undefined, undefined, undefined])
  })

  test("records what is asked for and nothing else", () => {
    const [x, weight] = [random(1), tensor(device(), [C], uniform(C, 2))]
    const ids = tensor(device(), [T], new Uint32Array(T))
    const w = matrix(device(), [4, C], weights(4 * C, 1, "f32"))
    const normed = (run: Run) => rmsNorm(run, x, weight, options)
    expect(dispatches(normed, [x])).toBe(1) // dx: y itself is not needed
    expect(dispatches(normed, [weight])).toBe(2) // the scales, which come with dx, and dweight
    expect(dispatches(normed, [x, weight])).toBe(2)
    const block = (run: Run) => glu(run, normed(run), rmsNorm(run, embed(run, ids, w, 1), weight, options), "silu")
    expect(dispatches(block, [x])).toBe(5) // embed, two norms, the gradient of glu, that of one norm
    expect(dispatches(block, [w])).toBe(8) // and of the other norm instead, then links, zeros, rows
    expect(dispatches(block, [x, w])).toBe(9)
    expect(dispatches(block, [])).toBe(0)
  })

  test("leaves results alone: y is the same to the bit with and without gradients, and on every replay", async () => {
    const [weight, output] = [tensor(device(), [C], uniform(C, 2)), random(4)]
    const ids = tensor(device(), [T], Uint32Array.of(3, 1, 3, 3, 0))
    const w = matrix(device(), [4, C], weights(4 * C, 1, "bf16"))
    const build = (run: Run) => {
      const x = embed(run, ids, w, 6)
      return add(run, x, glu(run, rmsNorm(run, x, weight, options), x, "gelu_tanh"))
    }
    const plain = new Run(device())
    const tape = new Tape()
    const taped = new Run(device(), tape)
    const [y, z] = [plain.keep(build(plain)), taped.keep(build(taped))]
    const [dweight, dw] = tape.gradients(taped, z, output, [weight, w])
    if (!dweight || "parts" in dweight || !dw || !("parts" in dw)) throw new Error("gradients: not as expected")
    const wanted = [z, taped.keep(dweight), taped.keep(dw.parts[0]!.tensor)]
    const pool = new ScratchPool(device())
    const [first, second] = [plain.plan(pool), taped.plan(pool)]
    const rounds = []
    for (let i = 0; i < 3; i++) {
      first.submit()
      second.submit()
      rounds.push(await Promise.all(wanted.map(async (x) => new Float32Array(await device().read(x)))))
    }
    expect(rounds[0]![0]).toEqual(new Float32Array(await device().read(y)))
    expect(rounds[1]).toEqual(rounds[0])
    expect(rounds[2]).toEqual(rounds[0])
    for (const x of [first, second, pool]) x.dispose()
  })
})
