import { describe, expect, test } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import { linearCrossEntropy } from "../../src/kernels/linear_cross_entropy.ts"
import { type Head, linearDistill } from "../../src/kernels/linear_distill.ts"
import { Run } from "../../src/kernels/run.ts"
import { expectClose } from "../helpers/compare.ts"
import { goldenCase, type HeadData, headData, logitsData, logitsOf, someTargets, upload } from "../helpers/distill.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, free, matrix, tensor, testDevice, uniform, WEIGHT_DTYPES, weights } from "../helpers/kernels.ts"
import { type Distill, distill, row } from "../reference/distill.ts"

const IGNORED = 2 ** 32 - 1

/** Loss and gradients on the GPU. */
async function measure(
  device: Device,
  [student, teacher]: readonly [Head, Head],
  targets: Uint32Array<ArrayBuffer>,
  dloss: Float32Array<ArrayBuffer>,
  options: Distill,
) {
  const [ids, d] = [tensor(device, [targets.length], targets), tensor(device, [targets.length], dloss)]
  const build = (run: Run) => linearDistill(run, student, teacher, ids, options)
  const loss = await compute(device, build)
  const [dx, dweight] = await gradients(device, build, d, [student.x, student.weight])
  free(device, ids, d)
  return { loss, dx: dx!, dweight: dweight! }
}

describe("linearDistill", () => {
  const device = testDevice()

  /** Holds loss and gradients to the definition and its slope; weights in parts of so many rows. */
  async function check(
    student: HeadData,
    teacher: HeadData,
    options: Distill,
    what: string,
    parts: { student?: number; teacher?: number } = {},
  ): Promise<void> {
    const T = student.x.length / student.C
    const V = student.weight.values.length / student.C
    const [targets, dloss] = [someTargets(T, V), uniform(T, 3)]
    const heads = [upload(device(), student, parts.student), upload(device(), teacher, parts.teacher)] as const
    const { loss, dx, dweight } = await measure(device(), heads, targets, dloss, options)
    const expected = logitsOf(teacher)
    const f = (logits: Float64Array) => distill(logits, expected, targets, V, options)
    expectClose(loss, f(logitsOf(student)), { absolute: 4e-6, relative: 3e-6 }, { what: `${what}, loss` })
    const ofX = (x: Float64Array) => f(logitsOf(student, { x }))
    expectSlope(dx, { f: ofX, x: student.x, dy: dloss }, 5e-6, { what: `${what}, dx` })
    const ofWeight = (weight: Float64Array) => f(logitsOf(student, { weight }))
    expectSlope(dweight, { f: ofWeight, x: student.weight.values, dy: dloss }, 5e-6, { what: `${what}, dweight` })
    for (const head of heads) free(device(), head.x, head.weight)
  }

  const OPTIONS: readonly Distill[] = [
    { kind: "forward_kl" },
    { kind: "reverse_kl", temperature: 0.9, mix: 0.7 },
    { kind: "jsd", temperature: 2, mix: 0.3 },
    { kind: "jsd", beta: 0.05, temperature: 3, hinton: false },
    { kind: "jsd", beta: 0 },
    { kind: "jsd", beta: 1, temperature: 2 },
    { kind: "forward_kl", mix: 0, temperature: 2 },
  ]

  test.each(OPTIONS)(
    "and its gradients are the definition's for %o, capped or not, weights in every type",
    async (options) => {
      for (const dtype of WEIGHT_DTYPES) {
        for (const [T, C, D, V] of [
          [1, 4, 8, 1],
          [5, 12, 4, 33],
          [9, 64, 24, 257],
        ] as const) {
          for (const caps of [
            [null, null],
            [3, 30],
          ] as const) {
            const student = headData([T, C, V], 1, dtype, caps[0])
            const teacher = headData([T, D, V], 5, dtype, caps[1])
            await check(student, teacher, options, `distill ${JSON.stringify(options)} ${dtype} V ${V} cap ${caps[0]}`)
          }
        }
      }
    },
  )

  test.each([OPTIONS[1]!, OPTIONS[2]!])(
    "walks over blocks of tables whose parts end at other rows: %o",
    async (options) => {
      const [T, C, D, V] = [3, 4, 12, 9001]
      const student = headData([T, C, V], 1, "bf16", 5)
      const teacher = headData([T, D, V], 5, "f16", null)
      for (const parts of [{}, { student: 2500, teacher: 3001 }, { student: 9000, teacher: 77 }]) {
        await check(student, teacher, options, `distill in parts ${JSON.stringify(parts)}`, parts)
      }
    },
  )

  describe("gives the values and gradients of TRL and torchtune", () => {
    const { tensor: golden, targets, dloss, mean, student, teacher } = goldenCase()
    const ofGolden = (options: Distill, from = teacher) => {
      return measure(device(), [upload(device(), student), upload(device(), from)], targets, dloss, options)
    }
    function expectGolden(name: string, value: number, gradient: ArrayLike<number>): void {
      const [v, g] = [golden(`${name}.value`), golden(`${name}.grad`)]
      expectClose([value], v.data, { absolute: v.tolerance }, { what: `${name}.value` })
      expectClose(gradient, g.data, { absolute: g.tolerance }, { what: `${name}.grad` })
    }

    test.each<[string, Distill]>([
      ...[1, 2].flatMap((temperature): [string, Distill][] => [
        [`forward_kl.T${temperature}`, { kind: "forward_kl", temperature, hinton: false }],
        [`reverse_kl.T${temperature}`, { kind: "reverse_kl", temperature, hinton: false }],
        [`jsd_beta0.5.T${temperature}`, { kind: "jsd", temperature, hinton: false }],
        [`jsd_beta0.1.T${temperature}`, { kind: "jsd", beta: 0.1, temperature, hinton: false }],
      ]),
      ["forward_kl.T1", { kind: "jsd", beta: 0 }],
      ["reverse_kl.T1", { kind: "jsd", beta: 1 }],
      ["torchtune_reverse", { kind: "reverse_kl" }],
      ["hinton.T2", { kind: "forward_kl", temperature: 2 }],
      ["ce", { kind: "forward_kl", mix: 0 }],
    ])("%s for %o", async (name, options) => {
      const { loss, dx } = await ofGolden(options)
      expectGolden(name, mean(loss), dx)
    })

    test("torchtune's forward and symmetric forms, which count the teacher's entropy", async () => {
      const [forward, reverse] = [await ofGolden({ kind: "forward_kl" }), await ofGolden({ kind: "reverse_kl" })]
      const uniformly = new Float64Array(teacher.x.length)
      const entropy = distill(uniformly, teacher.x, targets, 256, { kind: "forward_kl" }).map(
        (kl) => kl && Math.log(256) - kl,
      )
      const value = mean(forward.loss) + mean(entropy)
      expectGolden("torchtune_forward", value, forward.dx)
      const half = forward.dx.map((g, i) => (g + reverse.dx[i]!) / 2)
      expectGolden("torchtune_symmetric", (value + mean(reverse.loss)) / 2, half)
    })

    test("label smoothing, with a teacher who knows nothing, but for a constant", async () => {
      const nobody = logitsData(new Float32Array(teacher.x.length), 256)
      const { loss, dx } = await ofGolden({ kind: "forward_kl", mix: 0.1 }, nobody)
      expectGolden("ce_smooth0.1", mean(loss) + 0.1 * Math.log(256), dx)
    })
  })

  test("is 0 with gradients of 0 for a teacher who thinks alike", async () => {
    const data = headData([5, 8, 300], 1, "f32", 30)
    const heads = [upload(device(), data), upload(device(), data)] as const
    const dloss = new Float32Array(5).fill(1)
    for (const kind of ["forward_kl", "reverse_kl", "jsd"] as const) {
      const { loss, dx, dweight } = await measure(device(), heads, someTargets(5, 300), dloss, { kind })
      expectClose(loss, new Float32Array(5), { absolute: 1e-9 }, { what: `${kind} of equals` })
      expectClose(dx, new Float32Array(5 * 8), { absolute: 1e-7 }, { what: `${kind} of equals, dx` })
      expectClose(dweight, new Float32Array(300 * 8), { absolute: 1e-7 }, { what: `${kind} of equals, dweight` })
    }
  })

  test("of kind jsd goes to beta KL(P || Q) and to (1 - beta) KL(Q || P) at the ends", async () => {
    const { targets, dloss, mean, student, teacher } = goldenCase()
    const heads = [upload(device(), student), upload(device(), teacher)] as const
    const value = async (options: Distill) => mean((await measure(device(), heads, targets, dloss, options)).loss)
    const [forward, reverse] = [await value({ kind: "forward_kl" }), await value({ kind: "reverse_kl" })]
    const far = (beta: number) => Promise.all([value({ kind: "jsd", beta }), value({ kind: "jsd", beta: 1 - beta })])
    const errors: number[][] = []
    for (const beta of [0.1, 0.01, 0.001]) {
      const [a, b] = await far(beta)
      errors.push([1 - a / beta / forward, 1 - b / beta / reverse])
    }
    for (const end of [0, 1]) {
      const [first, second, third] = errors.map((both) => both[end]!)
      expect(first!).toBeGreaterThan(2 * second!)
      expect(second!).toBeGreaterThan(2 * third!)
      expect(third!).toBeLessThan(0.02)
      expect(third!).toBeGreaterThan(0)
    }
  })

  test("has gradients by the logits that sum to 0, for large and far logits as well", async () => {
    const [T, V] = [4, 200]
    const targets = Uint32Array.from([3, 199, 0, 77])
    const dloss = new Float32Array(T).fill(1)
    const far = (seed: number, shift: number) => uniform(T * V, seed, 40).map((x) => Math.round(x * 8) / 8 + shift)
    for (const options of OPTIONS) {
      const [student, teacher] = [logitsData(far(1, 5000), V), logitsData(far(2, -5000), V)]
      const heads = [upload(device(), student), upload(device(), teacher)] as const
      const { loss, dx } = await measure(device(), heads, targets, dloss, options)
      const expected = distill(student.x, teacher.x, targets, V, options)
      expectClose(loss, expected, { relative: 2e-6 }, { what: `far ${options.kind}` })
      for (let t = 0; t < T; t++) {
        const sum = row(dx, t, V).reduce((a, b) => a + b)
        const size = row(dx, t, V).reduce((a, b) => a + Math.abs(b), 0)
        expectClose([sum], [0], { absolute: 1e-6 * Math.max(1, size) }, { what: `far ${options.kind}, sum` })
      }
      for (const head of heads) free(device(), head.x, head.weight)
    }
  })

  test("is 0 where the target is ignored, whatever the logits", async () => {
    const [T, C, V] = [3, 4, 50]
    const [student, teacher] = [headData([T, C, V], 1, "f32", null), headData([T, C, V], 5, "f32", null)]
    student.x.fill(Number.NaN, C, 2 * C)
    const targets = Uint32Array.of(7, IGNORED, 9)
    const heads = [upload(device(), student), upload(device(), teacher)] as const
    for (const options of OPTIONS) {
      const { loss, dx } = await measure(device(), heads, targets, new Float32Array(T).fill(1), options)
      expect(loss[1]).toBe(0)
      expect([...dx.subarray(C, 2 * C)]).toEqual([0, 0, 0, 0])
      expect([loss[0]! > 0, loss[2]! > 0]).toEqual([true, true])
    }
  })

  test("stays finite where the student gives tokens no weight that the teacher gives none either", async () => {
    const V = 40
    const [a, b] = [new Float32Array(V).fill(-1e4), new Float32Array(V).fill(-2e4)]
    a.set([1, 2, 3], 7)
    b.set([3, 1, 1], 7)
    const heads = [upload(device(), logitsData(a, V)), upload(device(), logitsData(b, V))] as const
    for (const kind of ["forward_kl", "reverse_kl", "jsd"] as const) {
      const { loss, dx } = await measure(device(), heads, Uint32Array.of(8), Float32Array.of(1), { kind })
      const expected = distill(a, b, [8], V, { kind })
      expectClose(loss, expected, { absolute: 1e-6 }, { what: `${kind} of few` })
      expect(dx.every(Number.isFinite)).toBe(true)
    }
  })

  test("mixed with none of the divergence is cross-entropy to the bit", async () => {
    const data = headData([5, 8, 300], 1, "bf16", 30)
    const [student, teacher] = [upload(device(), data), upload(device(), headData([5, 8, 300], 9, "bf16", null))]
    const targets = someTargets(5, 300)
    const { loss } = await measure(device(), [student, teacher], targets, new Float32Array(5), {
      kind: "jsd",
      mix: 0,
    })
    const ids = tensor(device(), [5], targets)
    const ce = await compute(device(), (run) =>
      linearCrossEntropy(run, student.x, student.weight, ids, { softcap: 30 }),
    )
    expect(loss).toEqual(ce)
  })

  test("refuses vocabularies, rows, targets and options that do not fit", () => {
    const run = new Run(device())
    const head = (T: number, V: number, C = 4): Head => {
      return { x: run.empty([T, C]), weight: matrix(device(), [V, C], weights(V * C, 1, "f32")), softcap: null }
    }
    const targets = run.empty([3], "u32")
    const kind = "jsd"
    const [student, teacher] = [head(3, 8), head(3, 8, 12)]
    const build = (...args: Parameters<typeof linearDistill> extends [Run, ...infer Rest] ? Rest : never) => {
      return () => linearDistill(run, ...args)
    }
    expect(build(student, teacher, targets, { kind })).not.toThrow()
    expect(build(student, head(3, 12), targets, { kind })).toThrow(
      new RangeError("linearDistill: teacher's weight is [12, 4], expected [8, 4]"),
    )
    expect(build(student, head(2, 8), targets, { kind })).toThrow(
      new RangeError("linearDistill: teacher's x is [2, 4], expected [3, 4]"),
    )
    expect(build({ ...student, x: run.empty([3, 8]) }, teacher, targets, { kind })).toThrow(
      new RangeError("linearDistill: weight is [8, 4], expected [8, 8]"),
    )
    expect(build(student, teacher, run.empty([2], "u32"), { kind })).toThrow(
      new RangeError("linearDistill: targets is [2], expected [3]"),
    )
    expect(build(student, teacher, run.empty([3]), { kind })).toThrow(
      new TypeError("linearDistill: targets is f32, expected u32"),
    )
    for (const temperature of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(build(student, teacher, targets, { kind, temperature })).toThrow(
        new RangeError(`linearDistill: temperature is ${temperature}, expected a number above 0`),
      )
    }
    expect(build(student, teacher, targets, { kind, beta: 1.5 })).toThrow(
      new RangeError("linearDistill: beta is 1.5, expected 0 to 1"),
    )
    expect(build(student, teacher, targets, { kind, mix: Number.NaN })).toThrow(
      new RangeError("linearDistill: mix is NaN, expected 0 to 1"),
    )
  })
})
