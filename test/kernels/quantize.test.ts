import { describe, expect, test } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import { embed } from "../../src/kernels/embed.ts"
import { gatedLinear } from "../../src/kernels/gated_linear.ts"
import { linear, linearBackwardInput } from "../../src/kernels/linear.ts"
import { tokensThatFit } from "../../src/kernels/linear_rounded.ts"
import { type QuantizedDtype, quantize } from "../../src/kernels/quantize.ts"
import { fromGroups, toGroups } from "../../src/kernels/row_groups.ts"
import { Run } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import { byteSize, type Matrix } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { gradients, readAll } from "../helpers/gradients.ts"
import {
  compute,
  free,
  matrix,
  repeat,
  SUBGROUPS,
  tensor,
  testDevice,
  uniform,
  WEIGHT_DTYPES,
  type Weights,
  weights,
} from "../helpers/kernels.ts"
import { glu } from "../reference/glu.ts"
import * as product from "../reference/linear.ts"
import * as reference from "../reference/quantized.ts"

const DTYPES: readonly QuantizedDtype[] = ["q4", "q8"]

describe("quantized weights", () => {
  const device = testDevice()
  const [sharing, plain] = SUBGROUPS.map(testDevice) as [() => Device, () => Device]

  /** A matrix rounded on the GPU, in parts of at most `most` rows, and the blocks that it holds. */
  async function rounded(
    device: Device,
    shape: readonly [number, number],
    weight: Weights,
    dtype: QuantizedDtype,
    most?: number,
  ) {
    const [N, C] = shape
    const from = matrix(device, [N, C], weight)
    const into = most === undefined ? device.matrix("weights", shape, dtype) : inParts(device, shape, dtype, most)
    const matters = tensor(device, [C], importance(C))
    const run = new Run(device)
    quantize(run, from, into, matters)
    const memory = await readAll(
      device,
      run,
      into.parts.map(({ tensor }) => tensor),
    )
    free(device, from, matters)
    const blocks = into.parts.flatMap(({ rows }, i) =>
      reference.blocks(new Uint32Array(memory[i]!.buffer), [rows, C], dtype),
    )
    return { into, blocks, values: reference.valuesOf(blocks) }
  }

  /** How much columns count: from 1 / 4 to 4. */
  const importance = (C: number) => Float32Array.from({ length: C }, (_, c) => 2 ** (((c * 7) % 5) - 2))

  function inParts(device: Device, [N, C]: readonly [number, number], dtype: QuantizedDtype, most: number): Matrix {
    const parts = Array.from({ length: Math.ceil(N / most) }, (_, p) => {
      const rows = Math.min(most, N - p * most)
      return { firstRow: p * most, rows, tensor: device.tensor("weights", [rows, C], dtype) }
    })
    return { shape: [N, C], dtype, parts }
  }

  test("take 5 and 9 bits a weight", () => {
    expect(byteSize([64, 640], "q4")).toBe((64 * 640 * 5) / 8)
    expect(byteSize([64, 640], "q8")).toBe((64 * 640 * 9) / 8)
    expect(byteSize([33, 640], "q4")).toBe((64 * 640 * 5) / 8)
    expect(() => byteSize([4, 48], "q4")).toThrow(
      new RangeError("q4 [4, 48]: rows are of 48, expected a multiple of 32"),
    )
  })

  test("have the words of 32 rows next to one another, and come apart again", () => {
    const words = Uint32Array.from({ length: 33 * 5 }, (_, i) => 10 * Math.floor(i / 5) + (i % 5))
    const groups = toGroups("q4", words, 32)
    expect(groups.length).toBe(64 * 5)
    expect([...groups.subarray(0, 32)]).toEqual(Array.from({ length: 32 }, (_, row) => 10 * row))
    expect([...groups.subarray(32, 34)]).toEqual([1, 11])
    expect([...groups.subarray(160, 162)]).toEqual([320, 0])
    expect(fromGroups("q4", groups, 32, 33)).toEqual(words)
  })

  test.each([
    [1, 32],
    [7, 96],
    [37, 640],
  ])("have in four bits nearly the best scale and zero that there are, [%i, %i] in every type", async (N, C) => {
    for (const dtype of WEIGHT_DTYPES) {
      const weight = weights(N * C, 1, dtype)
      const { into, blocks } = await rounded(device(), [N, C], weight, "q4")
      const every = Math.ceil(blocks.length / 10)
      let [left, least] = [0, 0]
      for (const [b, { values, scale, zero, codes }] of blocks.entries()) {
        const w = Array.from(weight.values.slice(32 * b, 32 * b + 32))
        const m = Array.from({ length: 32 }, (_, i) => importance(C)[(32 * b + i) % C]!)
        const nearest = w.map((x) => Math.min(15, Math.max(0, x / scale + zero)))
        const farthest = Math.max(...codes.map((code, i) => Math.abs(code - nearest[i]!)))
        expect(farthest, `block ${b}`).toBeLessThanOrEqual(0.5001)
        if (b % every !== 0) continue
        left += w.reduce((sum, x, i) => sum + m[i]! * (x - values[i]!) ** 2, 0)
        least += reference.leastError(w, m)
      }
      expect(left / least).toBeLessThan(1.06)
      free(device(), into)
    }
  })

  test.each([
    [1, 32],
    [7, 96],
    [37, 640],
  ])("have in eight bits the nearest multiple of a 127th of the greatest, [%i, %i] in every type", async (N, C) => {
    for (const dtype of WEIGHT_DTYPES) {
      const weight = weights(N * C, 1, dtype)
      const { into, blocks } = await rounded(device(), [N, C], weight, "q8")
      for (const [b, { values, scale }] of blocks.entries()) {
        const w = Array.from(weight.values.slice(32 * b, 32 * b + 32))
        expect(scale).toBeCloseTo(Math.max(...w.map(Math.abs)) / 127, 9)
        for (const [i, x] of w.entries()) expect(Math.abs(x - values[i]!)).toBeLessThanOrEqual(0.5001 * scale)
      }
      free(device(), into)
    }
  })

  test("keep blocks of zeros, of one sign, with one large weight, and tiny ones", async () => {
    const rows = [
      new Float32Array(32),
      Float32Array.from({ length: 32 }, (_, i) => 0.5 + i / 64),
      Float32Array.from({ length: 32 }, (_, i) => -1 - i),
      Float32Array.from({ length: 32 }, (_, i) => (i === 5 ? 100 : 0)),
      Float32Array.from({ length: 32 }, (_, i) => 1e-7 * (i - 16)),
    ]
    const values = Float32Array.from(rows.flatMap((row) => [...row]))
    for (const dtype of DTYPES) {
      const { into, blocks } = await rounded(device(), [5, 32], { dtype: "f32", stored: values, values }, dtype)
      expect(blocks[0]!.values.map(Math.abs)).toEqual([...rows[0]!])
      for (const [b, row] of rows.entries()) {
        const most = Math.max(...row.map(Math.abs))
        expectClose(
          blocks[b]!.values,
          row,
          { absolute: most * (dtype === "q4" ? 0.12 : 0.004) },
          { what: `${dtype} row ${b}` },
        )
      }
      free(device(), into)
    }
  })

  test.each(DTYPES)(
    "are gathered, multiplied by many tokens and passed back through as what they stand for, %s",
    async (dtype) => {
      const [T, N, C] = [17, 39, 96]
      const weight = weights(N * C, 2, "bf16")
      for (const most of [undefined, 32]) {
        const { into, values } = await rounded(device(), [N, C], weight, dtype, most)
        const ids = Uint32Array.of(38, 0, 17, 16, 3)
        const table = await compute(device(), (run) => embed(run, tensor(device(), [5], ids), into, 1))
        expectClose(
          table,
          [...ids].flatMap((id) => [...values.subarray(id * C, (id + 1) * C)]),
          { relative: 1e-7 },
          { what: `embed ${dtype}` },
        )
        const x = uniform(T * C, 3)
        const y = await compute(device(), (run) => linear(run, tensor(device(), [T, C], x), into))
        expectClose(y, product.linear(x, values, C), { relative: 6e-6 }, { what: `linear ${dtype}` })
        const dy = uniform(T * N, 4)
        const dx = await compute(device(), (run) => linearBackwardInput(run, tensor(device(), [T, N], dy), into))
        expectClose(dx, product.linearBackwardInput(dy, values, C), { relative: 6e-6 }, { what: `dx ${dtype}` })
      }
    },
  )

  /** With counts of tokens for every kernel that there is: each shape, count up to a power of two, and device takes time to compile. */
  const SHAPES = [
    { N: 1, C: 32, counts: [1, 2], device: plain },
    { N: 2050, C: 64, counts: [1, 2], device: sharing },
    { N: 130, C: 640, counts: [1, 5, 8, 13, 16], device: plain },
    { N: 33, C: 2048, counts: [1, 3, 8], device: sharing }, // 4 of 8 fit at once
    { N: 4, C: 8192, counts: [1, 3], device: plain }, // one fits
  ]

  /** T tokens of which each block has one scale with its codes: what is rounded stays what it is. */
  function multiples(T: number, C: number): Float32Array<ArrayBuffer> {
    const code = (i: number) => (i % 32 === 7 ? 127 : ((i * 37) % 255) - 127)
    return Float32Array.from({ length: T * C }, (_, i) => code(i) * 2 ** (((i >> 5) % 5) - 6))
  }

  test.each(SHAPES)(
    "meet tokens in eight bits: exactly what is defined, [$N, $C]",
    async ({ N, C, counts, device }) => {
      for (const dtype of DTYPES) {
        for (const most of [undefined, 64]) {
          const { into, values } = await rounded(device(), [N, C], weights(N * C, 5, "f16"), dtype, most)
          for (const T of counts) {
            const x = multiples(T, C)
            const y = await compute(device(), (run) => linear(run, tensor(device(), [T, C], x), into))
            expectClose(y, product.linear(x, values, C), { relative: 2e-6 }, { what: `vector ${dtype} T ${T} C ${C}` })
          }
          free(device(), into)
        }
      }
    },
  )

  test.each(SHAPES)("give a token to the bit what they give it alone, [$N, $C]", async ({ N, C, counts, device }) => {
    const x = uniform(16 * C, 1, 3)
    for (const dtype of DTYPES) {
      const { into } = await rounded(device(), [N, C], weights(N * C, 5, "bf16"), dtype)
      const product = (from: number, T: number) =>
        compute(device(), (run) => linear(run, tensor(device(), [T, C], x.slice(from * C, (from + T) * C)), into))
      const alone: number[] = []
      for (let t = 0; t < Math.max(...counts); t++) alone.push(...(await product(t, 1)))
      expect(new Set(alone).size).toBeGreaterThan(1)
      for (const T of counts) expect([...(await product(0, T))], `${dtype} T ${T}`).toEqual(alone.slice(0, T * N))
      free(device(), into)
    }
  })

  test.each(SHAPES)("round a token in blocks, [$N, $C]", async ({ N, C, device }) => {
    const x = uniform(C, 1, 3)
    x.fill(0, 0, 32)
    for (const dtype of DTYPES) {
      const { into, values } = await rounded(device(), [N, C], weights(N * C, 5, "bf16"), dtype)
      const y = await compute(device(), (run) => linear(run, tensor(device(), [1, C], x), into))
      const expected = product.linear(reference.roundBlocks(x), values, C)
      expectClose(y, expected, { relative: 2e-3, absolute: 1e-6 }, { what: `vector ${dtype}, rounded` }) // a code may fall to either side
      if (C > 32) {
        const whole = product.linear(x, values, C)
        const difference = y.reduce((sum, value, n) => sum + (value - whole[n]!) ** 2, 0)
        expect(difference).toBeGreaterThan(0)
        expect(Math.sqrt(difference / whole.reduce((sum, value) => sum + value ** 2, 0))).toBeLessThan(0.02)
      }
    }
  })

  test.each(DTYPES)(
    "meet tokens as they are where one is too long for a workgroup, and on a tape, %s",
    async (dtype) => {
      const [T, N, C] = [2, 8, 16_384]
      expect([C, 8192, 2048].map((columns) => tokensThatFit(device(), columns))).toEqual([0, 1, 6])
      const weight = {
        dtype: "f32" as const,
        stored: repeat(uniform(4096, 1), N * C),
        values: repeat(uniform(4096, 1), N * C),
      }
      const long = await rounded(device(), [N, C], weight, dtype)
      const x = uniform(T * C, 2)
      for (const tokens of [1, T]) {
        const some = x.slice(0, tokens * C)
        const y = await compute(device(), (run) => linear(run, tensor(device(), [tokens, C], some), long.into))
        expectClose(y, product.linear(some, long.values, C), { relative: 6e-6 }, { what: `long ${dtype} T ${tokens}` })
      }
      const short = await rounded(device(), [40, 96], weights(40 * 96, 3, "f32"), dtype)
      const token = uniform(T * 96, 4)
      const input = tensor(device(), [T, 96], token)
      const taped = new Run(device(), new Tape())
      const [exact] = await readAll(device(), taped, [linear(taped, input, short.into)])
      expectClose(exact!, product.linear(token, short.values, 96), { relative: 2e-6 }, { what: `taped ${dtype}` })
      const dy = uniform(T * 40, 5)
      const [dx] = await gradients(device(), (run) => linear(run, input, short.into), tensor(device(), [T, 40], dy), [
        input,
      ])
      expectClose(dx!, product.linearBackwardInput(dy, short.values, 96), { relative: 2e-6 }, { what: `dx ${dtype}` })
    },
  )

  test.each(DTYPES)("gate a token in one product, and several to the bit as one, %s", async (dtype) => {
    const [T, F, C] = [5, 68, 640]
    const x = multiples(T, C)
    for (const [activation, device] of [
      ["gelu_tanh", sharing()],
      ["silu", plain()],
    ] as const) {
      const { into, values } = await rounded(device, [2 * F, C], weights(2 * F * C, 5, "f16"), dtype)
      const gated = (x: Float32Array<ArrayBuffer>) =>
        compute(device, (run) => gatedLinear(run, tensor(device, [x.length / C, C], x), into, activation))
      const alone: number[] = []
      for (let t = 0; t < T; t++) alone.push(...(await gated(x.slice(t * C, (t + 1) * C))))
      const gate = product.linear(x, values.slice(0, F * C), C)
      const up = product.linear(x, values.slice(F * C), C)
      expectClose(alone, glu(gate, up, activation), { relative: 4e-6 }, { what: `gated ${dtype} ${activation}` })
      expect([...(await gated(x))]).toEqual(alone)
      free(device, into)
    }
  })

  test("refuse other shapes and types", () => {
    const run = new Run(device())
    const [f32, q4] = [device().matrix("weights", [4, 64], "f32"), device().matrix("weights", [4, 64], "q4")]
    const ones = run.empty([64])
    expect(() => quantize(run, f32, q4, run.empty([32]))).toThrow(
      new RangeError("quantize: matters is [32], expected [64]"),
    )
    expect(() => quantize(run, f32, device().matrix("weights", [8, 64], "q4"), ones)).toThrow(
      new RangeError("quantize: into is [8, 64], expected [4, 64]"),
    )
    expect(() => quantize(run, f32, f32, ones)).toThrow(new TypeError("quantize: into is f32, expected q4 or q8"))
    expect(() => quantize(run, q4, q4, ones)).toThrow(
      new TypeError("quantize: weight is q4, expected f32, bf16 or f16"),
    )
  })
})
