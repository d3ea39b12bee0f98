import { describe, expect, test } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import { linearDistill } from "../../src/kernels/linear_distill.ts"
import { linearDistillSparse } from "../../src/kernels/linear_distill_sparse.ts"
import { linearSampleTokens } from "../../src/kernels/linear_sample_tokens.ts"
import { linearTopK } from "../../src/kernels/linear_top_k.ts"
import { Run } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { openTestDevice } from "../helpers/device.ts"
import { type HeadData, headData, logitsOf, upload } from "../helpers/distill.ts"
import { expectSlope, readAll } from "../helpers/gradients.ts"
import { random, tensor } from "../helpers/kernels.ts"
import { distill, distillSparse, row, softmax, topK } from "../reference/distill.ts"

describe("distillation over a vocabulary of 262,144, 512 tokens at once", () => {
  const [T, C, V, N] = [512, 16, 262_144, 64]
  const SCORED = [7, 500]
  const student = headData([T, C, V], 1, "bf16", 30)
  const teacher = headData([T, C, V], 3, "bf16", null)
  const next = random(5)
  const targets = Uint32Array.from({ length: T }, () => Math.floor(next() * V))
  const dloss = Float32Array.from({ length: T }, (_, t) => (SCORED.includes(t) ? t / 300 : 0))

  /** Some rows of `[T, width]`. */
  const some = (all: ArrayLike<number>, width: number) =>
    Float32Array.from(SCORED.flatMap((t) => [...row(all, t, width)]))
  const someIds = (all: Float32Array) => some(new Uint32Array(all.buffer), N)
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

  /** A step: what it gives, its gradients, and how many bytes it took beside its inputs at most. */
  async function step(
    build: (run: Run, device: Device, targets: Tensor) => { loss: Tensor; more?: readonly Tensor[] },
  ) {
    const device = await openTestDevice({ limits: "default" })
    const ids = tensor(device, [T], targets)
    const d = tensor(device, [T], dloss)
    const tape = new Tape()
    const run = new Run(device, tape)
    const { loss, more = [] } = build(run, device, ids)
    const { x, weight } = heads.get(device)!
    const inputs = device.memory.total
    const [dx, dweight] = tape.gradients(run, loss, d, [x, weight])
    const results = await readAll(device, run, [loss, dx!, dweight!, ...more])
    const bytes = device.memory.peak - inputs
    device.dispose()
    return { results, bytes }
  }

  const heads = new Map<Device, ReturnType<typeof upload>>()
  function put(device: Device): ReturnType<typeof upload> {
    const head = upload(device, student)
    heads.set(device, head)
    return head
  }

  test("linearDistill is the definition's within 200 MB", async () => {
    const options = { kind: "forward_kl", temperature: 2 } as const
    const { results, bytes } = await step((run, device, targets) => ({
      loss: linearDistill(run, put(device), upload(device, teacher), targets, options),
    }))
    expect(bytes).toBeLessThan(200e6)
    const expected = logitsOf(someOf(teacher))
    expectRows(results, (logits) => distill(logits, expected, some(targets, 1), V, options), "large")
  })

  test("linearDistillSparse and its targets are the definition's within 200 MB", async () => {
    const options = { over: "tail", kind: "forward_kl" } as const
    const next = random(6)
    const uniforms = new Float32Array(SCORED.length * N).map(next)
    const { results, bytes } = await step((run, device, targets) => {
      const { x, weight, softcap } = put(device)
      const from = upload(device, teacher)
      const top = linearTopK(run, from.x, from.weight, { softcap: null, temperature: 1, k: N })
      const loss = linearDistillSparse(run, x, weight, targets, top, { softcap, ...options })
      const [someX, u] = [
        tensor(device, [SCORED.length, C], someOf(teacher).x),
        tensor(device, [SCORED.length, N], uniforms),
      ]
      const drawn = linearSampleTokens(run, someX, from.weight, u, { softcap: null, temperature: 1 })
      return { loss, more: [top.ids, top.probs, drawn.ids, drawn.probs] }
    })
    expect(bytes).toBeLessThan(200e6)
    const [loss, dx, dweight, topIds, topProbs, ids, probs] = results
    const logits = logitsOf(someOf(teacher))
    const known = { ids: someIds(topIds!), probs: some(topProbs!, N) }
    for (const i of SCORED.keys()) {
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
    const f = (logits: Float64Array) => distillSparse(logits, known, some(targets, 1), V, options)
    expectRows([loss!, dx!, dweight!], f, "large sparse")
  })
})
