import { describe, expect, test } from "vitest"
import { bitNorm } from "../../src/kernels/bit_norm.ts"
import { dequantize } from "../../src/kernels/dequantize.ts"
import { embed } from "../../src/kernels/embed.ts"
import { linear, linearBackwardInput, linearBackwardWeight, linearEach } from "../../src/kernels/linear.ts"
import { Run } from "../../src/kernels/run.ts"
import { ternarize } from "../../src/kernels/ternarize.ts"
import { unpackRow } from "../../src/kernels/ternary.ts"
import { readFloat32, readHeader } from "../../src/model/safetensors.ts"
import { fileSource } from "../../src/platform/node_files.ts"
import { expectClose } from "../helpers/compare.ts"
import { openTestDevice } from "../helpers/device.ts"
import { fixture, type Golden, golden } from "../helpers/golden.ts"
import { expectSlope, gradients, readAll } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  random,
  SUBGROUPS,
  stand,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  weights,
} from "../helpers/kernels.ts"
import { int8Tensor, ternaryMatrix, trits } from "../helpers/ternary.ts"
import * as bit from "../reference/bit_linear.ts"
import * as reference from "../reference/linear.ts"
import { int8Rows, rowsInFours } from "../reference/ternary.ts"
import { bf16 } from "../reference/weights.ts"

describe.each(SUBGROUPS)("linear and linear_vector, subgroups $subgroups", ({ subgroups }) => {
  const device = testDevice({ subgroups })
  // A token alone has no variant with subgroups.
  const shapes = [
    [1, 4, 1],
    [1, 4, 3],
    [1, 12, 33],
    [1, 172, 130],
    [2, 4, 1],
    [5, 12, 3],
    [17, 20, 129],
    [33, 172, 33],
    [1, 640, 2048],
    [1, 2048, 640],
    [1, 1152, 257],
    [1, 2560, 130],
    [5, 640, 2048],
    [33, 2048, 64],
    [3, 1152, 257],
    [33, 2560, 65],
    [128, 640, 40],
  ] as const
  const tokens = (...counts: number[]) => counts.filter((T) => T > 1 || subgroups === "never")

  test.each(shapes.filter(([T]) => T > 1 || subgroups === "never"))(
    "equals x weight^T for T = %i, C = %i, N = %i, weights in every type",
    async (T, C, N) => {
      const x = uniform(T * C, 1)
      const input = tensor(device(), [T, C], x)
      for (const dtype of WEIGHT_DTYPES) {
        const weight = weights(N * C, 2, dtype)
        const w = matrix(device(), [N, C], weight)
        const y = await compute(device(), (run) => linear(run, input, w))
        expectClose(y, reference.linear(x, weight.values, C), { relative: 6e-6 }, { what: `linear ${dtype} C ${C}` })
        free(device(), w)
      }
    },
  )

  test.each(tokens(1, 5))("multiplies a matrix in parts, each into its own columns (T = %i)", async (T) => {
    const [C, N] = [12, 37]
    const x = uniform(T * C, 3)
    const weight = weights(N * C, 4, "bf16")
    const input = tensor(device(), [T, C], x)
    for (const rows of [1, 5, 8, 33, 36]) {
      const w = matrix(device(), [N, C], weight, rows)
      const y = await compute(device(), (run) => linear(run, input, w))
      expectClose(y, reference.linear(x, weight.values, C), { relative: 6e-6 }, { what: `linear parts of ${rows}` })
    }
  })

  test.each(tokens(1, 3, 6))("takes f16 weights from the smallest to the largest (T = %i)", async (T) => {
    const C = 64
    const bits = Uint16Array.from({ length: 4 * C }, (_, i) => {
      const row = Math.floor(i / C)
      const sign = (i & 1) << 15
      if (row === 0) return sign | (i * 16 + 1) // subnormals
      if (row === 1) return sign | (0x7bff - i) // up to 65504
      return sign | ((i * 97) % 0x7c00)
    })
    const weight = stand(bits, "f16")
    const x = uniform(T * C, 5)
    const [input, w] = [tensor(device(), [T, C], x), matrix(device(), [4, C], weight)]
    const y = await compute(device(), (run) => linear(run, input, w))
    const expected = reference.linear(x, weight.values, C)
    for (let row = 0; row < 4; row++) {
      const column = (all: ArrayLike<number>) => Array.from(all).filter((_, i) => i % 4 === row)
      expectClose(column(y), column(expected), { relative: 6e-6 }, { what: `linear f16 row ${row}` })
    }
  })
})

describe("linear", () => {
  const device = testDevice()

  test("multiplies and gathers a table that no single binding can hold", async () => {
    const [V, C] = [262_144, 320] // 160 MiB in bf16, where a binding has 128
    const bits = new Uint32Array((V * C) / 2)
    let state = 1
    for (let i = 0; i < bits.length; i++) {
      state = Math.imul(state, 1664525) + 1013904223
      bits[i] = (state & 0x81ff81ff) | 0x3e003e00 // magnitudes from 1/8 to 1/2, either sign
    }
    const stored = new Uint16Array(bits.buffer)
    const w = matrix(device(), [V, C], { dtype: "bf16", stored, values: new Float32Array(0) })
    expect(w.parts.map((part) => part.rows)).toEqual([209_715, 52_429])

    const values = Float64Array.from({ length: 2 ** 16 }, (_, i) => bf16(i))
    const x = uniform(2 * C, 6)
    const expected = new Float64Array(2 * V)
    for (let n = 0; n < V; n++) {
      for (let c = 0; c < C; c++) {
        const weight = values[stored[n * C + c]!]!
        expected[n]! += x[c]! * weight
        expected[V + n]! += x[C + c]! * weight
      }
    }
    const both = tensor(device(), [2, C], x)
    const first = tensor(device(), [1, C], x.slice(0, C))
    const tiled = await compute(device(), (run) => linear(run, both, w))
    expectClose(tiled, expected, { relative: 6e-6 }, { what: "linear large T 2" })
    const vector = await compute(device(), (run) => linear(run, first, w))
    expectClose(vector, expected.subarray(0, V), { relative: 6e-6 }, { what: "linear large T 1" })

    const list = Uint32Array.of(0, 209_714, 209_715, 262_143, 131_072)
    const ids = tensor(device(), [list.length], list)
    const rows = await compute(device(), (run) => embed(run, ids, w, 1))
    const gathered = [...list].flatMap((id) => Array.from(stored.subarray(id * C, (id + 1) * C), bf16))
    expect(rows).toEqual(Float32Array.from(gathered))
    free(device(), w)
  })

  test("refuses a matrix of another width", () => {
    const run = new Run(device())
    const w = matrix(device(), [4, 8], weights(32, 1, "f32"))
    expect(() => linear(run, run.empty([2, 12]), w)).toThrow(
      new RangeError("linear: weight is [4, 8], expected [4, 12]"),
    )
    expect(() => linear(run, run.empty([8]), w)).toThrow(new RangeError("linear: x is [8], expected [T, C]"))
  })
})

describe.each(SUBGROUPS)("linear, backward, subgroups $subgroups", ({ subgroups }) => {
  const device = testDevice({ subgroups })

  // The variants with subgroups are for many tokens and rows, these in fours.
  const [counts, sizes] =
    subgroups === "always"
      ? [[33], [36, 256]]
      : [
          [1, 5, 33],
          [1, 3, 33, 256],
        ]
  const shapes = counts.flatMap((T) => [4, 172, 640].flatMap((C) => sizes.map((N) => [T, C, N] as const)))

  test.each(shapes)(
    "is the slope of its definition for T = %i, C = %i, N = %i, weights in every type",
    async (T, C, N) => {
      const [x, dy] = [uniform(T * C, 1), uniform(T * N, 2)]
      const [input, output] = [tensor(device(), [T, C], x), tensor(device(), [T, N], dy)]
      for (const dtype of WEIGHT_DTYPES) {
        const weight = weights(N * C, 3, dtype)
        const w = matrix(device(), [N, C], weight)
        const [dx, dweight] = await gradients(device(), (run) => linear(run, input, w), output, [input, w])
        const what = `linear ${dtype} C ${C}`
        expectClose(
          dx!,
          reference.linearBackwardInput(dy, weight.values, C),
          { relative: 6e-6 },
          { what: `${what}, dx` },
        )
        expectClose(
          dweight!,
          reference.linearBackwardWeight(dy, x, C),
          { relative: 6e-6 },
          { what: `${what}, dweight` },
        )
        const ofX = { f: (x: Float64Array) => reference.linear(x, weight.values, C), x, dy }
        expectSlope(dx!, ofX, 1e-6, { what: `${what}, dx` })
        const ofWeight = { f: (weight: Float64Array) => reference.linear(x, weight, C), x: weight.values, dy }
        expectSlope(dweight!, ofWeight, 1e-6, { what: `${what}, dweight` })
        free(device(), w)
      }
      free(device(), input, output)
    },
  )

  test("stays within rounding over long sums", async () => {
    const [T, C, N] = [300, 24, 4096]
    const [x, dy, weight] = [uniform(T * C, 1), uniform(T * N, 2), weights(N * C, 3, "bf16")]
    const [input, output] = [tensor(device(), [T, C], x), tensor(device(), [T, N], dy)]
    const w = matrix(device(), [N, C], weight)
    const [dx, dweight] = await gradients(device(), (run) => linear(run, input, w), output, [input, w])
    const what = "linear long"
    expectClose(dx!, reference.linearBackwardInput(dy, weight.values, C), { relative: 2e-5 }, { what: `${what}, dx` })
    expectClose(dweight!, reference.linearBackwardWeight(dy, x, C), { relative: 6e-6 }, { what: `${what}, dweight` })
    free(device(), input, output, w)
  })

  test.each(WEIGHT_DTYPES)("adds up %s weights in parts, whatever parts their gradient has", async (dtype) => {
    const small = await openTestDevice({ limits: "default", subgroups })
    const [T, C, N] = subgroups === "always" ? [9, 12, 40] : [5, 12, 37]
    const [x, dy, weight] = [uniform(T * C, 1), uniform(T * N, 2), weights(N * C, 3, dtype)]
    const [input, output] = [tensor(small, [T, C], x), tensor(small, [T, N], dy)]
    const fours = [
      [8, 36],
      [36, 32],
      [20, 40],
    ] as const
    const ragged = [
      [1, 16],
      [5, 37],
      [8, 36],
      [36, 17],
    ] as const
    for (const [rows, gradientRows] of subgroups === "always" ? fours : ragged) {
      const w = matrix(small, [N, C], weight, rows)
      Object.assign(small, { maxBinding: gradientRows * C * 4 })
      const [dx, dweight] = await gradients(small, (run) => linear(run, input, w), output, [input, w])
      const what = `linear parts of ${rows}, ${gradientRows}`
      expectClose(dx!, reference.linearBackwardInput(dy, weight.values, C), { relative: 2e-6 }, { what: `${what}, dx` })
      expectClose(dweight!, reference.linearBackwardWeight(dy, x, C), { relative: 2e-6 }, { what: `${what}, dweight` })
    }
    small.dispose()
  })

  test("adds dx onto what is there, and puts dweight into the rows it is given alone", async () => {
    const small = await openTestDevice({ limits: "default", subgroups })
    const [T, C, N, V] = subgroups === "always" ? [19, 12, 12, 25] : [5, 12, 7, 20]
    const [x, dy, weight] = [uniform(T * C, 1), uniform(T * N, 2), weights(N * C, 3, "f32")]
    const [input, output] = [tensor(small, [T, C], x), tensor(small, [T, N], dy)]
    const w = matrix(small, [N, C], weight)
    const [before, rest] = [uniform(T * C, 4), uniform(V * C, 5)]
    const onto = tensor(small, [T, C], before)
    const dweight = matrix(small, [V, C], { dtype: "f32", stored: rest, values: rest }, 16)
    const run = new Run(small)
    linearBackwardInput(run, output, w, onto)
    linearBackwardWeight(run, output, input, { dweight, firstRow: 6, add: false })
    const [dx, all] = await readAll(small, run, [onto, dweight])
    const added = reference.linearBackwardInput(dy, weight.values, C).map((value, i) => value + before[i]!)
    expectClose(dx!, added, { relative: 2e-6 }, { what: "linear onto" })
    const expected = Float64Array.from(rest)
    expected.set(reference.linearBackwardWeight(dy, x, C), 6 * C)
    expectClose(all!, expected, { relative: 2e-6 }, { what: "linear into" })
    expect(all!.subarray(0, 6 * C)).toEqual(rest.subarray(0, 6 * C))
    expect(all!.subarray((6 + N) * C)).toEqual(rest.subarray((6 + N) * C))
    small.dispose()
  })

  test("refuses gradients of other shapes", () => {
    const run = new Run(device())
    const w = matrix(device(), [3, 8], weights(24, 1, "f32"))
    expect(() => linearBackwardInput(run, run.empty([2, 4]), w)).toThrow(
      new RangeError("linearBackwardInput: dy is [2, 4], expected [2, 3]"),
    )
    expect(() => linearBackwardWeight(run, run.empty([2, 4]), run.empty([3, 8]))).toThrow(
      new RangeError("linearBackwardWeight: dy is [2, 4], expected [3, 4]"),
    )
    const into = { dweight: w, firstRow: 2, add: false }
    expect(() => linearBackwardWeight(run, run.empty([2, 2]), run.empty([2, 8]), into)).toThrow(
      new RangeError("linearBackwardWeight: dweight is [3, 8], expected [4, 8]"),
    )
  })
})

describe("linear with ternary weights", () => {
  const device = testDevice()
  const eps = 1e-6

  /** Random codes, the first row's all at an end of the range, and what they stand for. */
  function int8(T: number, C: number) {
    const next = random(7)
    const codes = Int8Array.from({ length: T * C }, (_, i) => (i < C ? -128 : Math.floor(next() * 256) - 128))
    const scales = Array.from({ length: T }, () => Math.fround(next() * 0.1 + 0.001))
    return { codes, scales, values: Float64Array.from(codes, (code, i) => code * scales[Math.floor(i / C)]!) }
  }

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
