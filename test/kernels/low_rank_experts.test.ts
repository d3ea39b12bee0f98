import { describe, expect, test } from "vitest"
import type { ExpertOptions } from "../../src/kernels/expert_mix.ts"
import { linear } from "../../src/kernels/linear.ts"
import { crossLayer, type LowRankExperts, lowRankExperts } from "../../src/kernels/low_rank_experts.ts"
import type { Run } from "../../src/kernels/run.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, free, matrix, tensor, testDevice, uniform, type WeightDtype, weights } from "../helpers/kernels.ts"
import * as reference from "../reference/low_rank_experts.ts"

/** K, R, C and N of a mixture. */
type Sizes = readonly [K: number, R: number, C: number, N: number]
type Kind = Omit<ExpertOptions, "experts">

const tanh = { gate: "softmax", activation: "tanh" } as const

describe("lowRankExperts", () => {
  const device = testDevice()

  /** Random experts as they are stored, and the numbers that they stand for. */
  function experts([K, R, C, N]: Sizes, gate: Kind["gate"], dtype: WeightDtype = "f32") {
    const of = (rows: number, columns: number, seed: number) => {
      const data = weights(rows * columns, seed, dtype)
      return { values: data.values, on: matrix(device(), [rows, columns], data) }
    }
    const [u, c, v] = [of(N, K * R, 11), of(K * R, R, 12), of(K * R, C, 13)]
    const gates = gate === "none" ? undefined : of(K, C, 14)
    const bias = uniform(N, 15)
    const on = { u: u.on, c: c.on, v: v.on, gate: gates?.on, bias: tensor(device(), [N], bias) }
    const values = { u: u.values, c: c.values, v: v.values, gate: gates?.values, bias }
    return { on, values }
  }

  const release = (x: Tensor, { u, c, v, gate, bias }: LowRankExperts) =>
    free(device(), x, u, c, v, ...(gate ? [gate] : []), ...(bias ? [bias] : []))

  async function expectDefinition(T: number, sizes: Sizes, kind: Kind, dtype?: WeightDtype): Promise<void> {
    const [K, R, C, N] = sizes
    const { on, values } = experts(sizes, kind.gate, dtype)
    const [x, dy] = [uniform(T * C, 1, 0.5), uniform(T * N, 2)]
    const [input, output] = [tensor(device(), [T, C], x), tensor(device(), [T, N], dy)]
    const mix = { K, R, ...kind }
    const build = (run: Run) => lowRankExperts(run, input, on, { experts: K, ...kind })
    const what = `lowRankExperts T ${T} [${sizes}] ${kind.gate} ${kind.activation}`
    const y = await compute(device(), build)
    expectClose(y, reference.lowRankExperts(x, values, mix), { relative: 4e-6 }, { what })
    const wrt = [input, on.u, on.c, on.v, on.bias, ...(on.gate ? [on.gate] : [])]
    const [dx, du, dc, dv, dbias, dgate] = await gradients(device(), build, output, wrt)
    const expected = reference.lowRankExpertsBackward(x, values, dy, mix)
    const found = { dx, du, dc, dv, dbias, ...(dgate ? { dgate } : {}) }
    for (const [name, gradient] of Object.entries(found)) {
      const truth = expected[name as keyof typeof expected]
      expectClose(gradient!, truth, { relative: 1e-5, absolute: 1e-6 }, { what: `${what}, ${name}` })
    }
    const slope = (name: "u" | "c" | "v" | "gate" | "bias", gradient: Float32Array) => {
      const f = (part: Float64Array) => reference.lowRankExperts(x, { ...values, [name]: part }, mix)
      expectSlope(gradient, { f, x: values[name]!, dy }, 4e-6, { what: `${what}, d${name}` })
    }
    const ofX = { f: (x: Float64Array) => reference.lowRankExperts(x, values, mix), x, dy }
    expectSlope(dx!, ofX, 4e-6, { what: `${what}, dx` })
    slope("u", du!)
    slope("c", dc!)
    slope("v", dv!)
    slope("bias", dbias!)
    if (dgate && !(K === 1 && kind.gate === "softmax")) slope("gate", dgate)
    release(input, on)
  }

  test.each([1, 2, 3, 4, 8].flatMap((K) => [4, 16, 32].map((R) => [K, R] as const)))(
    "equals its definition, and its gradients the slope, for K = %i, R = %i",
    async (K, R) => {
      for (const T of [1, 5, 65]) await expectDefinition(T, [K, R, 36, 21], tanh)
    },
  )

  test.each([
    { gate: "softmax", activation: "identity" },
    { gate: "sigmoid", activation: "tanh" },
    { gate: "sigmoid", activation: "identity" },
    { gate: "none", activation: "tanh" },
    { gate: "none", activation: "identity" },
  ] as const)("does so with gate $gate and activation $activation", async (kind) => {
    for (const T of [1, 5, 65]) await expectDefinition(T, [3, 8, 20, 28], kind)
  })

  test.each(["bf16", "f16"] as const)("does so with weights in %s", async (dtype) => {
    await expectDefinition(5, [3, 8, 20, 28], tanh, dtype)
  })

  test("takes from 1 to 64 experts, any number of them", async () => {
    for (const K of [1, 5, 33, 64]) await expectDefinition(2, [K, 4, 8, 5], tanh)
  })

  test("is a low-rank linear layer with one expert, no gate, no activation and C = I", async () => {
    const [T, R, C, N] = [5, 8, 20, 12]
    const kind = { experts: 1, gate: "none", activation: "identity" } as const
    const { on } = experts([1, R, C, N], "none", "bf16")
    const identity = matrix(device(), [R, R], unit(R))
    const x = tensor(device(), [T, C], uniform(T * C, 1))
    const { bias: _, ...plain } = on
    const y = await compute(device(), (run) => lowRankExperts(run, x, { ...plain, c: identity }, kind))
    expect(y).toEqual(await compute(device(), (run) => linear(run, linear(run, x, on.v), on.u)))
  })
})

/** The identity `[R, R]`. */
function unit(R: number) {
  const values = Float32Array.from({ length: R * R }, (_, i) => (i % (R + 1) === 0 ? 1 : 0))
  return { dtype: "f32" as const, stored: values, values }
}

describe("crossLayer", () => {
  const device = testDevice()
  const [T, R, C] = [5, 8, 20]
  const [x0, x, dy] = [uniform(T * C, 1), uniform(T * C, 2), uniform(T * C, 3)]
  const on = (data: Float32Array<ArrayBuffer>) => tensor(device(), [T, C], data)

  function experts(K: number, c = weights(K * R * R, 12, "f32")) {
    const [u, v, gate] = [weights(C * K * R, 11, "f32"), weights(K * R * C, 13, "f32"), weights(K * C, 14, "f32")]
    const bias = uniform(C, 15)
    return {
      values: { u: u.values, c: c.values, v: v.values, gate: gate.values, bias },
      on: {
        u: matrix(device(), [C, K * R], u),
        c: matrix(device(), [K * R, R], c),
        v: matrix(device(), [K * R, C], v),
        gate: matrix(device(), [K, C], gate),
        bias: tensor(device(), [C], bias),
      },
    }
  }

  test("with one expert, no gate, no activation and C = I is the plain low-rank cross layer", async () => {
    const one = experts(1, unit(R))
    const { gate: _, ...plain } = one.on
    const options = { experts: 1, gate: "none", activation: "identity" } as const
    const y = await compute(device(), (run) => crossLayer(run, on(x0), on(x), plain, options))
    expectClose(y, reference.lowRankCross(x0, x, one.values, R), { relative: 2e-6 }, { what: "crossLayer, plain" })
  })

  test.each([1, 3])("equals its definition, and its gradients the slope, with %i experts", async (K) => {
    const all = experts(K)
    const [first, input] = [on(x0), on(x)]
    const mix = { K, R, ...tanh }
    const build = (run: Run) => crossLayer(run, first, input, all.on, { experts: K, ...tanh })
    const y = await compute(device(), build)
    expectClose(y, reference.crossLayer(x0, x, all.values, mix), { relative: 4e-6 }, { what: "crossLayer" })
    const wrt = [first, input, all.on.u, all.on.bias]
    const [dfirst, dx, du, dbias] = await gradients(device(), build, on(dy), wrt)
    const { values } = all
    const slope = (f: (x: Float64Array) => Float64Array, at: ArrayLike<number>, gradient: Float32Array, what: string) =>
      expectSlope(gradient, { f, x: at, dy }, 4e-6, { what: `crossLayer, ${what}` })
    slope((part) => reference.crossLayer(part, x, values, mix), x0, dfirst!, "dx0")
    slope((part) => reference.crossLayer(x0, part, values, mix), x, dx!, "dx")
    slope((part) => reference.crossLayer(x0, x, { ...values, u: part }, mix), values.u, du!, "du")
    slope((part) => reference.crossLayer(x0, x, { ...values, bias: part }, mix), values.bias, dbias!, "dbias")
  })

  test("passes both shares of the gradient back where x is x0, as in the first layer", async () => {
    const { on: layer, values } = experts(2)
    const mix = { K: 2, R, ...tanh }
    const first = on(x0)
    const build = (run: Run) => crossLayer(run, first, first, layer, { experts: 2, ...tanh })
    const [dx] = await gradients(device(), build, on(dy), [first])
    const f = (part: Float64Array) => reference.crossLayer(part, part, values, mix)
    expectSlope(dx!, { f, x: x0, dy }, 4e-6, { what: "crossLayer, first, dx" })
  })
})
