import { describe, expect, test } from "vitest"
import { add } from "../../src/kernels/add.ts"
import { embed } from "../../src/kernels/embed.ts"
import { glu } from "../../src/kernels/glu.ts"
import { linear } from "../../src/kernels/linear.ts"
import { recompute } from "../../src/kernels/recompute.ts"
import { rmsNorm } from "../../src/kernels/rms_norm.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { softcap } from "../../src/kernels/softcap.ts"
import { Tape, type Variable } from "../../src/kernels/tape.ts"
import { rowSlice, type Tensor, view } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import { free, matrix, tensor, testDevice, uniform, type Weights, weights } from "../helpers/kernels.ts"
import * as embedding from "../reference/embed.ts"
import * as gated from "../reference/glu.ts"
import * as product from "../reference/linear.ts"
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

  test("keeps the gradients of slices of one memory apart", async () => {
    const [T, C] = [3, 64]
    const w = uniform(2 * C, 2)
    const input = tensor(device(), [T, C], uniform(T * C, 1))
    const output = tensor(device(), [T, C], uniform(T * C, 3))
    const both = tensor(device(), [2, C], w)
    const slices = [0, 1].map((i) => view(rowSlice(both, i, i + 1), [C]))
    const separate = [0, 1].map((i) => tensor(device(), [C], w.slice(i * C, (i + 1) * C)))
    const options = { eps: 1e-6, offset: 0 }
    const of = ([a, b]: readonly Tensor[]) => {
      const build = (run: Run) => rmsNorm(run, rmsNorm(run, input, a!, options), b!, options)
      return gradients(device(), build, output, [a!, b!])
    }
    expect(await of(slices)).toEqual(await of(separate))
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

describe("Tape, gradients onto sums", () => {
  const device = testDevice()
  const [T, C, F] = [5, 36, 20]
  const options = { eps: 1e-6, offset: 1 }
  const tolerance = { relative: 2e-6 }
  const f32 = (values: Float32Array<ArrayBuffer>): Weights => ({ dtype: "f32", stored: values, values })
  const plus = (a: ArrayLike<number>, b: ArrayLike<number>, times = 1) =>
    Float64Array.from(a, (value, i) => value + times * b[i]!)

  /** A norm and a product, and what goes in. */
  function setUp() {
    const data = {
      x: uniform(T * C, 1),
      weight: uniform(C, 2),
      table: weights(F * C, 3, "bf16"),
      dy: uniform(T * F, 4),
    }
    const x = tensor(device(), [T, C], data.x)
    const weight = tensor(device(), [C], data.weight)
    const table = matrix(device(), [F, C], data.table)
    const dy = tensor(device(), [T, F], data.dy)
    const build = (run: Run) => linear(run, rmsNorm(run, x, weight, options), table)
    return { data, x, weight, table, dy, build }
  }

  /** The gradients of what setUp builds, by definition. */
  function define({ x, weight, table, dy }: ReturnType<typeof setUp>["data"]) {
    const h = norm.rmsNorm(x, weight, options)
    const back = norm.rmsNormBackward(x, weight, product.linearBackwardInput(dy, table.values, C), options)
    return { ...back, dtable: product.linearBackwardWeight(dy, h, C) }
  }

  /** What gradients are added onto: anything, and the table's in parts that are not the table's. */
  function sums() {
    const data = { x: uniform(T * C, 5, 3), weight: uniform(C, 6, 3), table: uniform(F * C, 7, 3) }
    const x = tensor(device(), [T, C], data.x)
    const weight = tensor(device(), [C], data.weight)
    return { data, x, weight, table: matrix(device(), [F, C], f32(data.table), 7) }
  }

  test("adds onto what is given, tensors and matrices, and gives that back", async () => {
    const s = setUp()
    const onto = sums()
    const tape = new Tape()
    const run = new Run(device(), tape)
    const given = [onto.x, onto.weight, onto.table]
    const results = tape.gradients(run, s.build(run), s.dy, [s.x, s.weight, s.table], given)
    expect((results[0] as Tensor).storage).toBe(onto.x.storage)
    expect((results[1] as Tensor).storage).toBe(onto.weight.storage)
    expect(results[2]).toBe(onto.table)
    const [dx, dweight, dtable] = await readAll(device(), run, given)
    const expected = define(s.data)
    expectClose(dx!, plus(onto.data.x, expected.dx), tolerance, { what: "onto x" })
    expectClose(dweight!, plus(onto.data.weight, expected.dweight), tolerance, { what: "onto weight" })
    expectClose(dtable!, plus(onto.data.table, expected.dtable), tolerance, { what: "onto table" })
  })

  test("adds twice in a row, on one run and with each submission of its plan", async () => {
    const s = setUp()
    const onto = sums()
    const run = new Run(device())
    for (let i = 0; i < 2; i++) {
      const tape = new Tape()
      const y = run.on(tape, () => s.build(run))
      tape.gradients(run, y, s.dy, [s.x, s.weight, s.table], [onto.x, onto.weight, onto.table])
    }
    const pool = new ScratchPool(device())
    const plan = run.plan(pool)
    const expected = define(s.data)
    for (const times of [2, 4]) {
      plan.submit()
      const [dx, dweight, dtable] = await readAll(device(), new Run(device()), [onto.x, onto.weight, onto.table])
      expectClose(dx!, plus(onto.data.x, expected.dx, times), tolerance, { what: `onto x ${times}` })
      expectClose(dweight!, plus(onto.data.weight, expected.dweight, times), tolerance, { what: `weight ${times}` })
      expectClose(dtable!, plus(onto.data.table, expected.dtable, times), tolerance, { what: `table ${times}` })
    }
    plan.dispose()
    pool.dispose()
  })

  test("adds the second gradients of a tape onto the first, which are results of the same run", async () => {
    const s = setUp()
    const tape = new Tape()
    const run = new Run(device(), tape)
    const wrt = [s.x, s.weight, s.table]
    const y = s.build(run)
    const first = tape.gradients(run, y, s.dy, wrt)
    const second = tape.gradients(run, y, s.dy, wrt, first) as Variable[]
    const [dx, dweight, dtable] = await readAll(device(), run, second)
    const expected = define(s.data)
    expectClose(dx!, plus(expected.dx, expected.dx), tolerance, { what: "twice x" })
    expectClose(dweight!, plus(expected.dweight, expected.dweight), tolerance, { what: "twice weight" })
    expectClose(dtable!, plus(expected.dtable, expected.dtable), tolerance, { what: "twice table" })
  })

  test("makes new what nothing is given for, and leaves what y does not depend on as it is", async () => {
    const s = setUp()
    const onto = sums()
    const [other, unused] = [tensor(device(), [C], uniform(C, 8)), matrix(device(), [F, C], weights(F * C, 9, "f32"))]
    const before = uniform(C, 10)
    const [rest, table] = [tensor(device(), [C], before), sums().table]
    const tape = new Tape()
    const run = new Run(device(), tape)
    const wrt = [s.x, s.weight, s.table, other, unused]
    const results = tape.gradients(run, s.build(run), s.dy, wrt, [undefined, onto.weight, undefined, rest, table])
    expect((results[3] as Tensor).storage).toBe(rest.storage)
    expect(results[4]).toBe(table)
    const [dx, dweight, dtable, dother, dunused] = await readAll(device(), run, results as Variable[])
    const expected = define(s.data)
    expectClose(dx!, expected.dx, tolerance, { what: "new x" })
    expectClose(dweight!, plus(onto.data.weight, expected.dweight), tolerance, { what: "onto weight" })
    expectClose(dtable!, expected.dtable, tolerance, { what: "new table" })
    expect(dother).toEqual(before)
    expect(dunused).toEqual(onto.data.table)
  })

  test("sums a matrix used inside and outside of recomputed parts, onto what is given", async () => {
    const lists = [Uint32Array.of(1, 2, 2, 0, 6), Uint32Array.of(19, 2, 5, 4, 1)] as const
    const [a, b] = lists.map((list) => tensor(device(), [T], list)) as [Tensor, Tensor]
    const s = setUp()
    // The table is gathered from outside and inside, and multiplied by outside.
    const build = (run: Run, wrap: typeof recompute) => {
      const x = wrap(run, embed(run, a, s.table, 2), (x) => {
        const mixed = add(run, x, embed(run, b, s.table, 3))
        return add(run, mixed, softcap(run, rmsNorm(run, mixed, s.weight, options), 2))
      })
      return linear(run, x, s.table)
    }
    const plain: typeof recompute = (_, x, part) => part(x)
    const [whole] = await gradients(device(), (run) => build(run, plain), s.dy, [s.table])
    const [again] = await gradients(device(), (run) => build(run, recompute), s.dy, [s.table])
    expect(again).toEqual(whole)

    const define = (table: Float64Array) => {
      const mixed = plus(embedding.embed(lists[0], table, C, 2), embedding.embed(lists[1], table, C, 3))
      const capped = norm.rmsNorm(mixed, s.data.weight, options).map((value) => 2 * Math.tanh(value / 2))
      return product.linear(plus(mixed, capped), table, C)
    }
    const { values } = s.data.table
    expectSlope(again!, { f: define, x: values, dy: s.data.dy }, 2e-6, { what: "inside and outside" })

    const onto = sums()
    const tape = new Tape()
    const run = new Run(device(), tape)
    tape.gradients(run, build(run, recompute), s.dy, [s.table], [onto.table])
    const [dtable] = await readAll(device(), run, [onto.table])
    expectClose(dtable!, plus(onto.data.table, again!), tolerance, { what: "inside and outside, onto" })
  })
})

describe("Run.bytes", () => {
  const device = testDevice()
  const [T, C, F] = [33, 36, 52]
  const options = { eps: 1e-6, offset: 1 }

  const plain: typeof recompute = (_, x, part) => part(x)

  test.each([
    ["", plain],
    [" with recomputed parts", recompute],
  ])("is what a plan takes on the device beside its parameters: a stack and its gradients%s", (_, wrap) => {
    const x = tensor(device(), [T, C], uniform(T * C, 1))
    const dy = tensor(device(), [T, C], uniform(T * C, 2))
    const weight = tensor(device(), [C], uniform(C, 3))
    const [up, down] = [
      matrix(device(), [F, C], weights(F * C, 4, "bf16")),
      matrix(device(), [C, F], weights(C * F, 5, "f32")),
    ]
    for (const wrt of [[], [x], [weight, up], [x, weight, up, down]]) {
      const tape = new Tape()
      const run = new Run(device(), tape)
      const part = (x: Tensor) => {
        const h = linear(run, rmsNorm(run, x, weight, options), up)
        return add(run, x, linear(run, glu(run, h, h, "silu"), down))
      }
      const y = wrap(run, wrap(run, wrap(run, x, part), part), part)
      for (const gradient of [y, ...tape.gradients(run, y, dy, wrt)] as Variable[]) {
        for (const kept of "parts" in gradient ? gradient.parts.map((part) => part.tensor) : [gradient]) run.keep(kept)
      }
      const { bytes } = run
      const before = device().memory.scratch
      const pool = new ScratchPool(device())
      const plan = run.plan(pool)
      const params = plan.dispatches * device().gpu.limits.minUniformBufferOffsetAlignment
      expect(device().memory.scratch - before - params).toBe(bytes)
      expect(bytes).toBeGreaterThanOrEqual(T * C * 4) // y at least
      plan.dispose()
      pool.dispose()
    }
    free(device(), x, dy, weight, up, down)
  })
})
