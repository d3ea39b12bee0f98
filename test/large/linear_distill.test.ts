import { describe, expect, test } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import { type Head, linearDistill } from "../../src/kernels/linear_distill.ts"
import { linearDistillSparse } from "../../src/kernels/linear_distill_sparse.ts"
import { linearSampleTokens } from "../../src/kernels/linear_sample_tokens.ts"
import { linearTopK } from "../../src/kernels/linear_top_k.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { Tape, type Variable } from "../../src/kernels/tape.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { openTestDevice } from "../helpers/device.ts"
import { type HeadData, headData, logitsOf, upload } from "../helpers/distill.ts"
import { expectSlope, readAll } from "../helpers/gradients.ts"
import { random, tensor } from "../helpers/kernels.ts"
import { distill, distillSparse, row, softmax, topK } from "../reference/distill.ts"

describe("distillation over a vocabulary of 262,144", () => {
  const [MANY, C, V, N] = [512, 16, 262_144, 64]
  /** The rows that are compared, and whose loss alone passes gradients back. */
  const ROWS = [7, 30]
  const student = headData([MANY, C, V], 1, "bf16", 30)
  const teacher = headData([MANY, C, V], 3, "bf16", null)
  const next = random(5)
  const targets = Uint32Array.from({ length: MANY }, () => Math.floor(next() * V))
  const dloss = Float32Array.from({ length: MANY }, (_, t) => (ROWS.includes(t) ? t / 30 : 0))

  /** Some rows of `[T, width]`. */
  const some = (all: ArrayLike<number>, width: number) =>
    Float32Array.from(ROWS.flatMap((t) => [...row(all, t, width)]))
  const someOf = (data: HeadData): HeadData => ({ ...data, x: some(data.x, C) })

  /** Holds the loss of some rows and its gradients to a definition that takes these rows' logits. */
  function expectRows(
    [loss, dx, dweight]: readonly Float32Array[],
    f: (logits: Float64Array) => ArrayLike<number>,
    what: string,
  ): void {
    const data = someOf(student)
    const dy = some(dloss, 1)
    expectClose(some(loss!, 1), f(logitsOf(data)), { relative: 3e-6 }, { what: `${what}, loss` })
    const ofX = (x: Float64Array) => f(logitsOf(data, { x }))
    expectSlope(some(dx!, C), { f: ofX, x: data.x, dy }, 1e-5, { what: `${what}, dx` })
    const ofWeight = (weight: Float64Array) => f(logitsOf(data, { weight }))
    expectSlope(dweight!, { f: ofWeight, x: data.weight.values, dy }, 1e-5, { what: `${what}, dweight` })
  }

  interface Inputs {
    readonly student: Head
    readonly teacher: Head
    readonly targets: Tensor
  }

  /** Loss, gradients and what else is wanted, for the first T rows. */
  type Build = (run: Run, device: Device, inputs: Inputs) => { loss: Tensor; more?: readonly Tensor[] }

  async function record(T: number, build: Build) {
    const device = await openTestDevice({ limits: "default" })
    const first = (data: HeadData) => upload(device, { ...data, x: data.x.slice(0, T * C) })
    const [of, from] = [first(student), first(teacher)]
    const [ids, d] = [tensor(device, [T], targets.slice(0, T)), tensor(device, [T], dloss.slice(0, T))]
    const tape = new Tape()
    const run = new Run(device, tape)
    const { loss, more = [] } = build(run, device, { student: of, teacher: from, targets: ids })
    const [dx, dweight] = tape.gradients(run, loss, d, [of.x, of.weight])
    return { device, run, wanted: [loss, dx!, dweight!, ...more] as readonly Variable[] }
  }

  async function results(T: number, build: Build): Promise<Float32Array<ArrayBuffer>[]> {
    const { device, run, wanted } = await record(T, build)
    const all = await readAll(device, run, wanted)
    device.dispose()
    return all
  }

  /** How many bytes a step takes beside its inputs. */
  async function bytes(T: number, build: Build): Promise<number> {
    const { device, run, wanted } = await record(T, build)
    const inputs = device.memory.total
    for (const x of wanted.flatMap((x) => ("parts" in x ? x.parts.map((part) => part.tensor) : [x]))) run.keep(x)
    run.plan(new ScratchPool(device))
    const { peak } = device.memory
    device.dispose()
    return peak - inputs
  }

  const dense = { kind: "forward_kl", temperature: 2 } as const
  const buildDense: Build = (run, _, { student, teacher, targets }) => {
    return { loss: linearDistill(run, student, teacher, targets, dense) }
  }

  const sparse = { over: "tail", kind: "forward_kl", mix: 0.5 } as const
  const uniforms = Float32Array.from({ length: ROWS.length * N }, random(6))
  const buildSparse: Build = (run, device, { student: { x, weight, softcap }, teacher: from, targets }) => {
    const top = linearTopK(run, from.x, from.weight, { softcap: null, temperature: 1, k: N })
    const loss = linearDistillSparse(run, x, weight, targets, top, { softcap, ...sparse })
    const someX = tensor(device, [ROWS.length, C], someOf(teacher).x)
    const u = tensor(device, [ROWS.length, N], uniforms)
    const drawn = linearSampleTokens(run, someX, from.weight, u, { softcap: null, temperature: 1 })
    return { loss, more: [top.ids, top.probs, drawn.ids, drawn.probs] }
  }

  test("takes less than 200 MB for 512 tokens, gradients and all", async () => {
    expect(await bytes(MANY, buildDense)).toBeLessThan(200e6)
    expect(await bytes(MANY, buildSparse)).toBeLessThan(200e6)
  })

  test("with a live teacher is the definition's for 512 tokens", { timeout: 300_000 }, async () => {
    const expected = logitsOf(someOf(teacher))
    const f = (logits: Float64Array) => distill(logits, expected, some(targets, 1), V, dense)
    expectRows(await results(MANY, buildDense), f, "large")
  })

  test("from a teacher's likeliest tokens is the definition's, as are they, and draws", async () => {
    const [loss, dx, dweight, topIds, topProbs, ids, probs] = await results(32, buildSparse)
    const known = { ids: some(new Uint32Array(topIds!.buffer), N), probs: some(topProbs!, N) }
    const logits = logitsOf(someOf(teacher))
    for (const i of ROWS.keys()) {
      const [of, mine] = [row(logits, i, V), row(known.ids, i, N)]
      const p = softmax(of, 1)
      const pick = (all: ArrayLike<number>) => Array.from(all, (v) => p[v]!)
      expectClose(pick(mine), pick(topK(of, N)), { relative: 1e-5 }, { what: "large, likeliest" })
      expectClose(row(known.probs, i, N), pick(mine), { relative: 1e-5 }, { what: "large, probabilities" })
      const drawn = row(new Uint32Array(ids!.buffer), i, N)
      expectClose(row(probs!, i, N), pick(drawn), { relative: 1e-5 }, { what: "large, probabilities of draws" })
      const ends = p.slice()
      for (let v = 1; v < V; v++) ends[v]! += ends[v - 1]!
      for (const [n, id] of drawn.entries()) {
        const u = uniforms[i * N + n]!
        expect(u, `draw ${n}, below`).toBeGreaterThan(ends[id]! - p[id]! - 2e-6)
        expect(u, `draw ${n}, above`).toBeLessThan(ends[id]! + 2e-6)
      }
    }
    const f = (logits: Float64Array) => distillSparse(logits, known, some(targets, 1), V, sparse)
    expectRows([loss!, dx!, dweight!], f, "large sparse")
  })
})
