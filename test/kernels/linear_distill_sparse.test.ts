import { describe, expect, test } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import { linearCrossEntropy } from "../../src/kernels/linear_cross_entropy.ts"
import { type Head, linearDistill } from "../../src/kernels/linear_distill.ts"
import {
  linearDistillSparse,
  type SparseDistillOptions,
  type SparseTargets,
} from "../../src/kernels/linear_distill_sparse.ts"
import { linearSampleTokens, sampleTargets } from "../../src/kernels/linear_sample_tokens.ts"
import { gatherProbs, linearTopK } from "../../src/kernels/linear_top_k.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { goldenCase, type HeadData, headData, logitsData, logitsOf, someTargets, upload } from "../helpers/distill.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  random,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  weights,
} from "../helpers/kernels.ts"
import { distill, distillSparse, row, softmax } from "../reference/distill.ts"

const IGNORED = 2 ** 32 - 1

type Options = Omit<SparseDistillOptions, "softcap">

interface Known {
  readonly ids: Uint32Array<ArrayBuffer>
  readonly probs: Float32Array<ArrayBuffer>
}

/** K distinct ids a row, the first and the last token among them, with probabilities that sum to 0.8; some slots unused. */
function someKnown(T: number, V: number, K: number): Known {
  const next = random(11)
  const ids = new Uint32Array(T * K)
  const probs = new Float32Array(T * K)
  for (let t = 0; t < T; t++) {
    const of = new Set([V - 1, 0])
    while (of.size < K) of.add(Math.floor(next() * V))
    ids.set([...of], t * K)
    const sizes = Array.from(of, (_, k) => (k % 5 === 4 ? 0 : next() ** 4 + 1e-6))
    const sum = sizes.reduce((a, b) => a + b)
    probs.set(
      sizes.map((size) => (0.8 * size) / sum),
      t * K,
    )
  }
  return { ids, probs }
}

describe("linearDistillSparse", () => {
  const device = testDevice()

  const put = ({ ids, probs }: Known, T: number): SparseTargets => {
    const shape = [T, ids.length / T]
    return { ids: tensor(device(), shape, ids), probs: tensor(device(), shape, probs) }
  }

  /** Loss and gradients on the GPU, with what the teacher knows, or how to find out in the same run. */
  async function measure(
    device: Device,
    { x, weight, softcap }: Head,
    teacher: SparseTargets | ((run: Run) => SparseTargets),
    targets: Uint32Array<ArrayBuffer>,
    dloss: Float32Array<ArrayBuffer>,
    options: Options,
  ) {
    const [ids, d] = [tensor(device, [targets.length], targets), tensor(device, [targets.length], dloss)]
    const build = (run: Run) => {
      const known = typeof teacher === "function" ? teacher(run) : teacher
      return linearDistillSparse(run, x, weight, ids, known, { softcap, ...options })
    }
    const loss = await compute(device, build)
    const [dx, dweight] = await gradients(device, build, d, [x, weight])
    free(device, ids, d)
    return { loss, dx: dx!, dweight: dweight! }
  }

  /** Holds loss and gradients to the definition and its slope; the weight in parts of so many rows. */
  async function check(student: HeadData, known: Known, options: Options, what: string, rows?: number): Promise<void> {
    const T = student.x.length / student.C
    const V = student.weight.values.length / student.C
    const [targets, dloss] = [someTargets(T, V), uniform(T, 3)]
    const [head, teacher] = [upload(device(), student, rows), put(known, T)]
    const { loss, dx, dweight } = await measure(device(), head, teacher, targets, dloss, options)
    const f = (logits: Float64Array) => distillSparse(logits, known, targets, V, options)
    expectClose(loss, f(logitsOf(student)), { absolute: 4e-6, relative: 3e-6 }, { what: `${what}, loss` })
    const ofX = (x: Float64Array) => f(logitsOf(student, { x }))
    expectSlope(dx, { f: ofX, x: student.x, dy: dloss }, 5e-6, { what: `${what}, dx` })
    const ofWeight = (weight: Float64Array) => f(logitsOf(student, { weight }))
    expectSlope(dweight, { f: ofWeight, x: student.weight.values, dy: dloss }, 5e-6, { what: `${what}, dweight` })
    free(device(), head.x, head.weight, teacher.ids, teacher.probs)
  }

  const OPTIONS: readonly Options[] = [
    { over: "full", kind: "forward_kl" },
    { over: "full", kind: "forward_kl", temperature: 2, mix: 0.4 },
    { over: "support", kind: "forward_kl", temperature: 3 },
    { over: "support", kind: "reverse_kl", mix: 0.9, hinton: false, temperature: 0.7 },
    { over: "support", kind: "jsd", beta: 0.1 },
    { over: "tail", kind: "forward_kl", temperature: 2 },
    { over: "tail", kind: "reverse_kl" },
    { over: "tail", kind: "jsd", mix: 0.5, temperature: 0.9 },
    { over: "tail", kind: "jsd", beta: 1 },
    { over: "tail", kind: "jsd", beta: 0, mix: 0 },
  ]

  test.each(OPTIONS)(
    "and its gradients are the definition's for %o, capped or not, weights in every type",
    async (options) => {
      for (const dtype of WEIGHT_DTYPES) {
        for (const [T, C, V, K] of [
          [1, 4, 3, 2],
          [5, 12, 33, 7],
          [9, 64, 257, 130],
        ] as const) {
          for (const cap of [null, 8]) {
            const what = `sparse ${JSON.stringify(options)} ${dtype} V ${V} cap ${cap}`
            await check(headData([T, C, V], 1, dtype, cap), someKnown(T, V, K), options, what)
          }
        }
      }
    },
  )

  test.each([OPTIONS[1]!, OPTIONS[3]!, OPTIONS[7]!])("walks over blocks of a table in parts: %o", async (options) => {
    const [T, C, V] = [3, 4, 9001]
    for (const rows of [undefined, 2500]) {
      const what = `sparse in parts of ${rows}`
      await check(headData([T, C, V], 1, "bf16", 5), someKnown(T, V, 256), options, what, rows)
    }
  })

  describe("gives TRL's values and gradients", () => {
    const { tensor: golden, targets, dloss, mean, student, teacher } = goldenCase()
    const kinds = { forward: "forward_kl", reverse: "reverse_kl", "jsd0.5": "jsd" } as const
    const cases = [1, 2].flatMap((temperature) =>
      (["support", "tail"] as const).flatMap((over) => [
        ...Object.entries(kinds).map(([name, kind]) => ["student", over, name, kind, temperature] as const),
        ["teacher", over, "forward", "forward_kl", temperature] as const,
      ]),
    )

    test.each(cases)("over the 16 likeliest of the %s, %s, %s", async (whose, over, name, kind, temperature) => {
      const [of, from] = [upload(device(), student), upload(device(), teacher)]
      const softmax = { softcap: null, temperature }
      const known = (run: Run): SparseTargets => {
        const { x, weight } = whose === "student" ? of : from
        const { ids, probs } = linearTopK(run, x, weight, { ...softmax, k: 16 })
        return whose === "teacher"
          ? { ids, probs }
          : { ids, probs: gatherProbs(run, from.x, from.weight, ids, softmax) }
      }
      const options = { over, kind, temperature, hinton: false }
      const { loss, dx } = await measure(device(), of, known, targets, dloss, options)
      const stem = `topk16_${whose}${over === "tail" ? "_tail" : ""}.${name}.T${temperature}`
      const [v, g] = [golden(`${stem}.value`), golden(`${stem}.grad`)]
      expectClose([mean(loss)], v.data, { absolute: v.tolerance }, { what: `${stem}.value` })
      expectClose(dx, g.data, { absolute: g.tolerance }, { what: `${stem}.grad` })
    })
  })

  test("with ids that cover the vocabulary equals the dense loss, but for the entropy in the cross-entropy form", async () => {
    const [T, V, temperature] = [5, 64, 2]
    const [student, teacher] = [headData([T, 8, V], 1, "bf16", 30), headData([T, 12, V], 5, "bf16", null)]
    const [of, from] = [upload(device(), student), upload(device(), teacher)]
    const [targets, dloss] = [someTargets(T, V), uniform(T, 3)]
    const known = (run: Run) => linearTopK(run, from.x, from.weight, { softcap: null, temperature, k: V })
    const [ids, d] = [tensor(device(), [T], targets), tensor(device(), [T], dloss)]
    const entropy = Float64Array.from(targets, (target, t) => {
      if (target === IGNORED) return 0
      return -softmax(row(logitsOf(teacher), t, V), temperature).reduce((sum, p) => sum + p * Math.log(p), 0)
    })
    for (const options of OPTIONS.map((options) => ({ ...options, temperature, hinton: false }))) {
      const { mix = 1, over } = options
      const dense = (run: Run) => linearDistill(run, of, from, ids, options)
      const expected = await compute(device(), dense)
      const [dx, dweight] = await gradients(device(), dense, d, [of.x, of.weight])
      const actual = await measure(device(), of, known, targets, dloss, options)
      const loss = actual.loss.map((loss, t) => (over === "full" ? loss - mix * entropy[t]! : loss))
      const what = `covered, ${JSON.stringify(options)}`
      expectClose(loss, expected, { absolute: 3e-6 }, { what })
      expectClose(actual.dx, dx!, { absolute: 1e-6, relative: 2e-6 }, { what: `${what}, dx` })
      expectClose(actual.dweight, dweight!, { absolute: 1e-6, relative: 2e-6 }, { what: `${what}, dweight` })
    }
  })

  test("has gradients by the logits that sum to 0, for large and far logits as well", async () => {
    const [T, V, K] = [4, 200, 32]
    const targets = Uint32Array.from([3, 199, 0, 77])
    const logits = uniform(T * V, 1, 15).map((x) => Math.round(x * 8) / 8 + 5000)
    const known = someKnown(T, V, K)
    const [head, teacher] = [upload(device(), logitsData(logits, V)), put(known, T)]
    for (const options of OPTIONS) {
      const { loss, dx } = await measure(device(), head, teacher, targets, new Float32Array(T).fill(1), options)
      const expected = distillSparse(logits, known, targets, V, options)
      expectClose(loss, expected, { relative: 2e-6 }, { what: `far ${options.kind} ${options.over}` })
      for (let t = 0; t < T; t++) {
        const [sum, size] = [0, 1].map((i) => row(dx, t, V).reduce((a, b) => a + (i ? Math.abs(b) : b)))
        const what = `far ${options.kind} ${options.over}, sum`
        expectClose([sum!], [0], { absolute: 1e-6 * Math.max(1, size!) }, { what })
      }
    }
  })

  test("keeps the gradient of a tail that the student has all but given up", async () => {
    const V = 64
    const logits = new Float32Array(V).fill(-30)
    logits.set([2, 1, 3, 1], 20)
    const known = { ids: Uint32Array.of(20, 21, 22, 23), probs: Float32Array.of(0.25, 0.25, 0.25, 0.125) }
    const [head, teacher] = [upload(device(), logitsData(logits, V)), put(known, 1)]
    const options = { over: "tail", kind: "forward_kl" } as const
    const { loss, dx } = await measure(device(), head, teacher, Uint32Array.of(0), Float32Array.of(1), options)
    const expected = distillSparse(logits, known, [0], V, options)
    expectClose(loss, expected, { relative: 2e-6 }, { what: "tail given up" })
    expectClose([dx[0]!, dx[63]!], [-0.125 / 60, -0.125 / 60], { relative: 1e-5 }, { what: "tail given up, dx" })
  })

  test("is 0 where the target is ignored, whatever the logits, and where no slot is used", async () => {
    const [T, C, V] = [3, 4, 50]
    const student = headData([T, C, V], 1, "f32", null)
    student.x.fill(Number.NaN, C, 2 * C)
    const known = someKnown(T, V, 8)
    known.probs.fill(0, 16)
    const [head, teacher] = [upload(device(), student), put(known, T)]
    const targets = Uint32Array.of(7, IGNORED, 9)
    for (const options of OPTIONS.filter(({ over, mix }) => over !== "tail" && mix === undefined)) {
      const { loss, dx } = await measure(device(), head, teacher, targets, new Float32Array(T).fill(1), options)
      expect(loss[0]).toBeGreaterThan(0)
      expect([...loss.subarray(1)]).toEqual([0, 0])
      expect([...dx.subarray(C)]).toEqual(new Array(2 * C).fill(0))
    }
  })

  test("with targets of draws is right on average for counts, and off for probabilities renormalised", async () => {
    const [T, V, N] = [4000, 200, 64]
    const [p, q] = [uniform(V, 21, 3), uniform(V, 22, 3)]
    const rows = (row: Float32Array) => Float32Array.from({ length: T * V }, (_, i) => row[i % V]!)
    const [teacher, student] = [upload(device(), logitsData(rows(p), V)), upload(device(), logitsData(rows(q), V))]
    const targets = tensor(device(), [T], new Uint32Array(T))
    const next = random(23)
    const uniforms = new Float32Array(T * N).map(next)
    for (let t = 0; t < T; t++) uniforms.subarray(t * N, t * N + N).sort()
    const u = tensor(device(), [T, N], uniforms)
    const softmaxOptions = { softcap: null, temperature: 1 }
    const run = new Run(device())
    const draws = linearSampleTokens(run, teacher.x, teacher.weight, u, softmaxOptions)
    const losses = (["count", "renorm"] as const).map((as) => {
      const known = sampleTargets(run, draws, as)
      const options = { softcap: null, over: "full", kind: "forward_kl" } as const
      return linearDistillSparse(run, student.x, student.weight, targets, known, options)
    })
    const [counts, renormed] = await readAll(device(), run, losses)
    const P = softmax(p, 1)
    const entropy = -P.reduce((sum, p) => sum + p * Math.log(p), 0)
    const dense = distill(q, p, [0], V, { kind: "forward_kl" })[0]! + entropy
    const offset = (all: Float32Array) => {
      const mean = all.reduce((a, b) => a + b, 0) / T
      const variance = all.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (T - 1)
      return (mean - dense) / Math.sqrt(variance / T)
    }
    expect(Math.abs(offset(counts!))).toBeLessThan(3)
    expect(Math.abs(offset(renormed!))).toBeGreaterThan(10)
  })

  test("mixed with none of the divergence is cross-entropy to the bit", async () => {
    const { x, weight, softcap } = upload(device(), headData([5, 8, 300], 1, "bf16", 30))
    const targets = someTargets(5, 300)
    const options = { over: "tail", kind: "jsd", mix: 0 } as const
    const teacher = put(someKnown(5, 300, 8), 5)
    const { loss } = await measure(device(), { x, weight, softcap }, teacher, targets, new Float32Array(5), options)
    const ids = tensor(device(), [5], targets)
    expect(loss).toEqual(await compute(device(), (run) => linearCrossEntropy(run, x, weight, ids, { softcap })))
  })

  test("refuses tables, targets, ids, probabilities and kinds that do not fit", () => {
    const run = new Run(device())
    const w = matrix(device(), [8, 4], weights(32, 1, "f32"))
    const [x, targets] = [run.empty([3, 4]), run.empty([3], "u32")]
    const known: SparseTargets = { ids: run.empty([3, 5], "u32"), probs: run.empty([3, 5]) }
    const options = { softcap: null, over: "full", kind: "forward_kl" } as const
    const build = (
      changes: Partial<{ x: typeof x; targets: typeof x; known: SparseTargets; options: SparseDistillOptions }>,
    ) => {
      const all = { x, targets, known, options, ...changes }
      return () => linearDistillSparse(run, all.x, w, all.targets, all.known, all.options)
    }
    expect(build({})).not.toThrow()
    expect(build({ x: run.empty([3, 8]) })).toThrow(
      new RangeError("linearDistillSparse: weight is [8, 4], expected [8, 8]"),
    )
    expect(build({ targets: run.empty([2], "u32") })).toThrow(
      new RangeError("linearDistillSparse: targets is [2], expected [3]"),
    )
    expect(build({ targets: run.empty([3]) })).toThrow(
      new TypeError("linearDistillSparse: targets is f32, expected u32"),
    )
    expect(build({ known: { ...known, ids: run.empty([2, 5], "u32") } })).toThrow(
      new RangeError("linearDistillSparse: ids is [2, 5], expected [3, 5]"),
    )
    expect(build({ known: { ...known, ids: run.empty([3, 5]) } })).toThrow(
      new TypeError("linearDistillSparse: ids is f32, expected u32"),
    )
    expect(build({ known: { ...known, probs: run.empty([3, 4]) } })).toThrow(
      new RangeError("linearDistillSparse: probs is [3, 4], expected [3, 5]"),
    )
    expect(build({ known: { ...known, probs: run.empty([3, 5], "f16") } })).toThrow(
      new TypeError("linearDistillSparse: probs is f16, expected f32"),
    )
    for (const kind of ["reverse_kl", "jsd"] as const) {
      expect(build({ options: { ...options, kind } })).toThrow(
        new RangeError(`linearDistillSparse: kind is ${kind}, expected forward_kl over the full vocabulary`),
      )
    }
  })
})
