import { describe, expect, test } from "vitest"
import { bitNorm } from "../../src/kernels/bit_norm.ts"
import { dequantize } from "../../src/kernels/dequantize.ts"
import { linear, linearEach } from "../../src/kernels/linear.ts"
import { Run } from "../../src/kernels/run.ts"
import { ternarize } from "../../src/kernels/ternarize.ts"
import { unpackRow } from "../../src/kernels/ternary.ts"
import { readFloat32, readHeader } from "../../src/model/safetensors.ts"
import { fileSource } from "../../src/platform/node_files.ts"
import { expectClose } from "../helpers/compare.ts"
import { fixture, type Golden, golden } from "../helpers/golden.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import { compute, free, matrix, random, tensor, testDevice, uniform, weights } from "../helpers/kernels.ts"
import { int8Tensor, ternaryMatrix, trits } from "../helpers/ternary.ts"
import * as bit from "../reference/bit_linear.ts"
import * as reference from "../reference/linear.ts"
import { int8Rows, rowsInFours } from "../reference/ternary.ts"

/** Random codes, the first row's all at an end of the range, and what they stand for. */
function int8(T: number, C: number) {
  const next = random(7)
  const codes = Int8Array.from({ length: T * C }, (_, i) => (i < C ? -128 : Math.floor(next() * 256) - 128))
  const scales = Array.from({ length: T }, () => Math.fround(next() * 0.1 + 0.001))
  return { codes, scales, values: Float64Array.from(codes, (code, i) => code * scales[Math.floor(i / C)]!) }
}

describe.each(["dot4", "halves"] as const)("linear of int8 and trits by %s", (ternary) => {
  const device = testDevice({ tuning: { ternary } })

  const shapes = [1, 2, 7, 64, 65].flatMap((T) =>
    [
      [64, 1],
      [64, 257],
      [96, 33],
      [1024, 66],
      [2816, 39],
    ].map(([C, N]) => [T, C!, N!] as const),
  )

  test.each(shapes)("multiplies f32 and int8 rows for T = %i, C = %i, N = %i", async (T, C, N) => {
    const x = uniform(T * C, 1)
    const codes = int8(T, C)
    const weight = trits(N * C, 2)
    const w = ternaryMatrix(device(), [N, C], weight)
    const input = tensor(device(), [T, C], x)
    const y = await compute(device(), (run) => linear(run, input, w))
    expectClose(y, reference.linear(x, weight.values, C), { relative: 6e-6 }, { what: `linear ternary C ${C}` })
    const q = int8Tensor(device(), [T, C], codes.codes, codes.scales)
    const exact = await compute(device(), (run) => linear(run, q, w))
    const expected = reference.linear(codes.values, weight.values, C)
    expectClose(exact, expected, { relative: 1e-6 }, { what: `linear int8 C ${C}` })
    const floats = await compute(device(), (run) => linear(run, dequantize(run, q), w))
    expectClose(exact, floats, { relative: 6e-6 }, { what: `linear int8, both ways, C ${C}` })
    free(device(), w, q, input)
  })

  test.each([1, 5])("keeps sums of the largest codes exact (T = %i)", async (T) => {
    const [C, N] = [6912, 9]
    const codes = new Int8Array(T * C).fill(-128)
    const all = new Int8Array(N * C).map((_, i) => [1, -1, 0][Math.floor(i / C) % 3]!)
    const q = int8Tensor(
      device(),
      [T, C],
      codes,
      Array.from({ length: T }, () => 1),
    )
    const w = ternaryMatrix(device(), [N, C], { trits: all, scale: 1, values: new Float64Array(0) })
    const y = await compute(device(), (run) => linear(run, q, w))
    expect([...y]).toEqual(Array.from({ length: T * N }, (_, i) => [-128 * C, 128 * C, 0][i % 3]!))
  })

  test.each([1, 5])("multiplies a matrix in parts, each into its own columns (T = %i)", async (T) => {
    const [C, N] = [96, 37]
    const codes = int8(T, C)
    const weight = trits(N * C, 4)
    const q = int8Tensor(device(), [T, C], codes.codes, codes.scales)
    const expected = reference.linear(codes.values, weight.values, C)
    for (const rows of [1, 5, 8, 33, 36]) {
      const w = ternaryMatrix(device(), [N, C], weight, rows)
      const y = await compute(device(), (run) => linear(run, q, w))
      expectClose(y, expected, { relative: 1e-6 }, { what: `linear int8 parts of ${rows}` })
      const floats = await compute(device(), (run) => linear(run, dequantize(run, q), w))
      expectClose(floats, expected, { relative: 2e-6 }, { what: `linear ternary parts of ${rows}` })
    }
  })
})

describe("linear with ternary weights", () => {
  const device = testDevice()
  const eps = 1e-6

  test.each([
    [1, 64, 8],
    [3, 96, 260],
    [4, 1024, 36],
  ])("multiplies %i tokens by a weight each as it does one by one, C = %i, N = %i", async (M, C, N) => {
    const codes = int8(M, C)
    const weight = trits(M * N * C, 2)
    const w = ternaryMatrix(device(), [M * N, C], weight)
    const all = int8Tensor(device(), [M, C], codes.codes, codes.scales)
    const together = await compute(device(), (run) => linearEach(run, all, w))
    for (let m = 0; m < M; m++) {
      const own = { ...weight, trits: weight.trits.subarray(m * N * C, (m + 1) * N * C) }
      const x = int8Tensor(device(), [1, C], codes.codes.subarray(m * C, (m + 1) * C), [codes.scales[m]!])
      const alone = await compute(device(), (run) => linear(run, x, ternaryMatrix(device(), [N, C], own)))
      expect(together.subarray(m * N, (m + 1) * N)).toEqual(alone)
    }
  })

  test("refuses weights that tokens cannot share out", () => {
    const run = new Run(device())
    const x = run.empty([2, 64], "int8")
    const w = (rows: number, most?: number) => ternaryMatrix(device(), [rows, 64], trits(rows * 64, 1), most)
    expect(() => linearEach(run, x, w(12))).toThrow(
      new RangeError("linearEach: weight has 6 rows for each of 2, expected a multiple of 4"),
    )
    expect(() => linearEach(run, x, w(16, 8))).toThrow(new RangeError("linearEach: weight is in 2 parts, expected one"))
    expect(() => linearEach(run, run.empty([2, 64]), w(16))).toThrow(
      new TypeError("linearEach: x is f32, expected int8"),
    )
  })

  test.each([
    [1, 64, 33],
    [7, 96, 130],
    [65, 1024, 20],
  ])("is with norm and rounding a BitLinear, and so are its gradients, T = %i, C = %i, N = %i", async (T, C, N) => {
    const [x, norm, dy] = [uniform(T * C, 1), uniform(C, 2), uniform(T * N, 3)]
    const weight = weights(N * C, 4, "f32")
    const [input, g, output] = [tensor(device(), [T, C], x), tensor(device(), [C], norm), tensor(device(), [T, N], dy)]
    const w = ternaryMatrix(device(), [N, C], trits(N * C, 5), 19)
    const round = new Run(device())
    ternarize(round, matrix(device(), [N, C], weight), w)
    const whole = (run: Run) => linear(run, bitNorm(run, input, g, { eps }), w)
    await readAll(device(), round, [w])
    const y = await compute(device(), whole)
    const memory = await compute(device(), (run) => bitNorm(run, input, g, { eps }))
    const { values } = int8Rows(memory.buffer, C)
    const ternary = bit.ternarize(weight.values).values
    // Codes may differ where rounding is on an edge: those of the device say what the product has to be.
    const what = `BitLinear C ${C}`
    expectClose(y, reference.linear(values, ternary, C), { relative: 2e-6 }, { what })
    const near = bit.bitNorm(x, norm, eps).scales.reduce((most, scale) => Math.max(most, scale), 0)
    const scale = bit.ternarize(weight.values).scale
    expectClose(y, bit.bitLinear(x, norm, weight.values, eps), { absolute: 2 * near * scale, relative: 2e-6 }, { what })

    const [dx, dnorm, dweight] = await gradients(device(), whole, output, [input, g, w])
    const expected = bit.bitLinearBackward(x, norm, weight.values, dy, eps)
    expectClose(dx!, expected.dx, { relative: 6e-6 }, { what: `${what}, dx` })
    expectClose(dnorm!, expected.dnorm, { relative: 6e-6 }, { what: `${what}, dnorm` })
    const ofX = { f: (x: Float64Array) => bit.smoothBitLinear(x, norm, ternary, eps), x, dy }
    expectSlope(dx!, ofX, 2e-6, { what: `${what}, dx` })
    const ofNorm = { f: (norm: Float64Array) => bit.smoothBitLinear(x, norm, ternary, eps), x: norm, dy }
    expectSlope(dnorm!, ofNorm, 2e-6, { what: `${what}, dnorm` })
    const exact = reference.linearBackwardWeight(dy, values, C) // dy^T times what the codes stand for
    expectClose(dweight!, exact, { relative: 6e-6 }, { what: `${what}, dweight` })
    free(device(), input, g, output, w)
  })

  test("gives what the reference's projection gives, with the trits that it has", async () => {
    const folder = "goldens/tiny-hgrnbit"
    const path = "model.layers.1.attn.i_proj"
    const source = await fileSource(fixture(`${folder}/model.safetensors`))
    const { tensors } = await readHeader(source, folder)
    const values = (name: string) => readFloat32(source, tensors.get(name)!)
    const [weight, norm] = [await values(`${path}.weight`), await values(`${path}.norm.weight`)]
    await source.close()
    const [T, C] = [16, 64]
    const w = ternaryMatrix(device(), [C, C], trits(C * C, 1))
    const rounding = new Run(device())
    ternarize(rounding, matrix(device(), [C, C], { dtype: "f32", stored: weight, values: weight }), w)
    const memory = (await readAll(device(), rounding, [w]))[0]!
    const rows = rowsInFours(new Uint32Array(memory.buffer), C, C / 16 + 1).map(unpackRow)
    const known = golden(folder) as Golden & { readonly ternary_scale: Readonly<Record<string, number>> }
    const expected = known.tensor(`ternary.${path}`)
    expect(rows.flatMap((row) => [...row.trits])).toEqual([...expected.data])
    const { scale } = bit.ternarize(weight)
    expectClose([rows[0]!.scale], [scale], { relative: 2e-7 }, { what: "scale of i_proj" })
    expect(scale).toBeCloseTo(known.ternary_scale[path]!, 12)
    const input = tensor(device(), [T, C], Float32Array.from(known.tensor("trace.1.attn_norm").data))
    const g = tensor(device(), [C], norm)
    const y = await compute(device(), (run) => linear(run, bitNorm(run, input, g, { eps }), w))
    const output = known.tensor("trace.1.attn.i_proj")
    expectClose(y, output.data, { absolute: output.tolerance }, { what: "i_proj" })
  })

  test("is zero and no NaN for rows of zeros and for weights of zeros", async () => {
    const [T, C, N] = [3, 64, 5]
    const [input, g] = [device().tensor("weights", [T, C]), tensor(device(), [C], uniform(C, 1))]
    const dy = tensor(device(), [T, N], uniform(T * N, 2))
    const zeros = { trits: new Int8Array(N * C), scale: 1e-5, values: new Float64Array(N * C) }
    for (const weight of [trits(N * C, 3), zeros]) {
      const w = ternaryMatrix(device(), [N, C], weight)
      const build = (run: Run) => linear(run, bitNorm(run, input, g, { eps }), w)
      expect(await compute(device(), build)).toEqual(new Float32Array(T * N))
      const [dx, dnorm, dweight] = await gradients(device(), build, dy, [input, g, w])
      const expected = reference.linearBackwardInput(uniform(T * N, 2), weight.values, C)
      const scaled = expected.map((value, i) => (value * uniform(C, 1)[i % C]!) / Math.sqrt(eps))
      expectClose(dx!, scaled, { relative: 2e-6 }, { what: "linear of zeros, dx" })
      expect(dnorm).toEqual(new Float32Array(C))
      expect(dweight).toEqual(new Float32Array(N * C))
    }
  })

  test("refuses int8 rows for other weights, and rows of other types", () => {
    const run = new Run(device())
    const w = matrix(device(), [4, 64], weights(256, 1, "bf16"))
    expect(() => linear(run, run.empty([2, 64], "int8"), w)).toThrow(
      new TypeError("linear: weight is bf16, expected ternary for an int8 x"),
    )
    expect(() => linear(run, run.empty([2, 64], "bf16"), w)).toThrow(
      new TypeError("linear: x is bf16, expected f32 or int8"),
    )
  })
})
