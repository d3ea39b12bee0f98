import { describe, expect, test } from "vitest"
import { addNorm } from "../../src/kernels/add_norm.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { add_norm } from "../../src/kernels/shaders.ts"
import { Tape } from "../../src/kernels/tape.ts"
import { expectClose } from "../helpers/compare.ts"
import { readAll } from "../helpers/gradients.ts"
import { free, random, tensor, testDevice, uniform, WEIGHT_DTYPES, type Weights, weights } from "../helpers/kernels.ts"
import * as reference from "../reference/add_norm.ts"

describe("addNorm", () => {
  const device = testDevice()
  const gemma = { eps: 1e-6, offset: 1 }
  const llama = { eps: 1e-5, offset: 0 }

  /** h and u, recorded without a tape or on one. */
  async function computed(
    x: Float32Array<ArrayBuffer>,
    a: Float32Array<ArrayBuffer>,
    norms: { readonly post: Weights | undefined; readonly next: Weights },
    options: typeof gemma,
    tape?: Tape,
  ): Promise<{ h: Float32Array; u: Float32Array }> {
    const C = norms.next.values.length
    const [left, right] = [tensor(device(), [x.length / C, C], x), tensor(device(), [x.length / C, C], a)]
    const [post, next] = [norms.post && tensor(device(), [C], norms.post), tensor(device(), [C], norms.next)]
    const run = new Run(device(), tape)
    const { h, u } = addNorm(run, left, right, { post, next }, options)
    const [hs, us] = await readAll(device(), run, [h, u])
    free(device(), left, right, next, ...(post ? [post] : []))
    return { h: hs!, u: us! }
  }

  test.each([
    [1, 4],
    [5, 12],
    [33, 172],
    [1, 640],
    [3, 1152],
    [2, 2560],
    [257, 64],
  ])("equals its definition for [%i, %i], with and without a norm of what is added", async (T, C) => {
    const [x, a] = [uniform(T * C, 1, 3), uniform(T * C, 2, 0.1)]
    for (const [i, dtype] of WEIGHT_DTYPES.entries()) {
      const all = { post: weights(C, 3, WEIGHT_DTYPES[(i + 1) % 3]!), next: weights(C, 4, dtype) }
      for (const [norms, options] of [
        [all, gemma],
        [{ ...all, post: undefined }, llama],
      ] as const) {
        const { h, u } = await computed(x, a, norms, options)
        const values = { post: norms.post?.values, next: norms.next.values }
        const expected = reference.addNorm(x, a, values, options)
        const what = `addNorm ${dtype} ${norms.post ? "post" : "plain"}`
        expectClose(h, expected.h, { relative: 1e-6 }, { what: `${what}, h` })
        expectClose(u, expected.u, { relative: 2e-6 }, { what: `${what}, u` }) // as h was rounded
      }
    }
  })

  test("gives on a tape what it gives without, in three dispatches for one", async () => {
    const [T, C] = [3, 640]
    const [x, a] = [uniform(T * C, 1, 3), uniform(T * C, 2)]
    const norms = { post: weights(C, 3, "bf16"), next: weights(C, 4, "bf16") }
    const fused = await computed(x, a, norms, gemma)
    const composed = await computed(x, a, norms, gemma, new Tape())
    expectClose(fused.h, composed.h, { relative: 1e-6 }, { what: "addNorm h" })
    expectClose(fused.u, composed.u, { relative: 1e-6 }, { what: "addNorm u" })
    expect(dispatches(undefined)).toBe(1)
    expect(dispatches(new Tape())).toBe(3)
  })

  function dispatches(tape: Tape | undefined): number {
    const run = new Run(device(), tape)
    const [x, weight] = [tensor(device(), [1, 8], uniform(8, 1)), tensor(device(), [8], uniform(8, 2))]
    run.keep(addNorm(run, x, x, { post: weight, next: weight }, gemma).u)
    const pool = new ScratchPool(device())
    const plan = run.plan(pool)
    const count = plan.dispatches
    plan.dispose()
    pool.dispose()
    free(device(), x, weight)
    return count
  }

  test("stays finite for rows of zeros, of tiny and of large numbers", async () => {
    const C = 640
    const sizes = [0, 1e-12, 1e-3, 1e4, 1e9]
    const next = random(5)
    const [x, a] = [0, 1].map(() =>
      Float32Array.from({ length: sizes.length * C }, (_, i) => (next() - 0.5) * sizes[Math.floor(i / C)]!),
    ) as [Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>]
    const norms = { post: weights(C, 6, "bf16"), next: weights(C, 7, "bf16") }
    const { h, u } = await computed(x, a, norms, gemma)
    const expected = reference.addNorm(x, a, { post: norms.post.values, next: norms.next.values }, gemma)
    for (const [row, size] of sizes.entries()) {
      const of = (all: Float32Array | Float64Array) => all.subarray(row * C, (row + 1) * C)
      expectClose(of(h), of(expected.h), { relative: 1e-6 }, { what: `addNorm h of size ${size}` })
      expectClose(of(u), of(expected.u), { relative: 2e-6 }, { what: `addNorm u of size ${size}` })
    }
  })

  test.each([
    [5, [4, 2]],
    [300, [10, 5]], // 8 rows each
  ] as const)(
    "counts its %i rows over two dimensions of workgroups and ignores those past the last",
    async (T, groups) => {
      const C = 12
      const [x, a, post, next] = [uniform(T * C, 1, 3), uniform(T * C, 2), weights(C, 3, "f32"), weights(C, 4, "f32")]
      const [left, right] = [tensor(device(), [T, C], x), tensor(device(), [T, C], a)]
      const [p, n] = [tensor(device(), [C], post), tensor(device(), [C], next)]
      const run = new Run(device())
      const [h, u] = [run.empty([T, C]), run.empty([T, C])]
      const buffers = { x: left, a: right, post: p, next: n, h, u }
      run.dispatch(add_norm, buffers, { T, C4: C / 4, ...gemma }, groups, { POST: 1 })
      const [hs, us] = await readAll(device(), run, [h, u])
      const expected = reference.addNorm(x, a, { post: post.values, next: next.values }, gemma)
      expectClose(hs!, expected.h, { relative: 1e-6 }, { what: "addNorm h of folded rows" })
      expectClose(us!, expected.u, { relative: 2e-6 }, { what: "addNorm u of folded rows" })
      free(device(), left, right, p, n)
    },
  )

  test("refuses shapes that do not fit", () => {
    const run = new Run(device())
    const [x, next] = [run.empty([2, 8]), run.empty([8])]
    expect(() => addNorm(run, x, run.empty([3, 8]), { next }, gemma)).toThrow(
      new RangeError("addNorm: a is [3, 8], expected [2, 8]"),
    )
    expect(() => addNorm(run, x, x, { post: run.empty([4]), next }, gemma)).toThrow(
      new RangeError("addNorm: post is [4], expected [8]"),
    )
    expect(() => addNorm(run, x, x, { next: run.empty([12]) }, gemma)).toThrow(
      new RangeError("addNorm: next is [12], expected [8]"),
    )
    expect(() => addNorm(run, x, x, { next: run.empty([8], "u32") }, gemma)).toThrow(TypeError)
  })
})
