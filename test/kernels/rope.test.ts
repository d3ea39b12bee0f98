import { describe, expect, test } from "vitest"
import { rope, ropeBackward, ropeTables } from "../../src/kernels/rope.ts"
import { Run } from "../../src/kernels/run.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { expectSlope, gradients } from "../helpers/gradients.ts"
import { compute, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { readFixture } from "../helpers/safetensors_fixture.ts"
import * as reference from "../reference/rope.ts"

describe("rope", () => {
  const device = testDevice()
  const kinds = [
    { theta: 1e4, factor: 1 },
    { theta: 1e6, factor: 1 },
    { theta: 1e6, factor: 8 },
  ]

  async function rotate(
    x: Float32Array<ArrayBuffer>,
    shape: readonly number[],
    tables: Tensor,
    position: number,
  ): Promise<Float32Array> {
    const input = tensor(device(), shape, x)
    const cursor = tensor(device(), [2], Uint32Array.of(position, 0))
    return compute(device(), (run) => rope(run, input, tables, cursor))
  }

  test.each(kinds)("turns every pair by its angle at any position, theta $theta, factor $factor", async (kind) => {
    for (const D of [8, 64, 256]) {
      const tables = ropeTables(device(), { headDim: D, ...kind }, 131_072)
      for (const [T, H] of [
        [1, 4],
        [5, 1],
        [33, 3],
      ] as const) {
        const x = uniform(T * H * D, D)
        for (const position of [0, 1, 250, 511, 4095, 32_767, 131_072 - T]) {
          const expected = reference.rope(x, { H, D, position, ...kind })
          const y = await rotate(x, [T, H, D], tables, position)
          expectClose(y, expected, { absolute: 1e-6 }, { what: `rope D ${D} at ${position}` })
        }
      }
    }
  })

  test.each([
    [32, "10000", 1],
    [32, "1e+06", 8],
    [256, "10000", 1],
    [256, "1e+06", 1],
  ])("gives the goldens' cosines and sines, head_dim %i, theta %s, factor %i", async (D, theta, factor) => {
    const golden = readFixture("goldens/ops/golden.safetensors")
    const half = D / 2
    const name = `hd${D}.theta${theta}.factor${factor}`
    const [cos, sin] = [golden(`rope.cos.${name}`), golden(`rope.sin.${name}`)]
    const tables = ropeTables(device(), { headDim: D, theta: Number(theta), factor }, 131_072)
    const unit = new Float32Array(D).fill(1, 0, half) // x1 = 1, x2 = 0: y1 = cos, y2 = sin
    for (const [row, position] of [0, 1, 2, 15, 16, 17, 511, 1023, 4095, 32_767, 131_071].entries()) {
      const expected = [...cos.subarray(row * half, (row + 1) * half), ...sin.subarray(row * half, (row + 1) * half)]
      const y = await rotate(unit, [1, 1, D], tables, position)
      expectClose(y, expected, { absolute: 1e-6 }, { what: `rope golden ${name} at ${position}` })
      const definition = reference.rope(unit, { H: 1, D, theta: Number(theta), factor, position })
      expectClose(definition, expected, { absolute: 1e-7 }, { what: `rope definition ${name} at ${position}` })
    }
  })

  test("gives position 8p under factor 8 what it gives p under factor 1", async () => {
    const x = uniform(64, 1)
    const one = ropeTables(device(), { headDim: 64, theta: 1e6, factor: 1 }, 4096)
    const eight = ropeTables(device(), { headDim: 64, theta: 1e6, factor: 8 }, 32_768)
    const [a, b] = [await rotate(x, [1, 1, 64], one, 3001), await rotate(x, [1, 1, 64], eight, 24_008)]
    expectClose(a, b, { absolute: 1e-6 }, { what: "rope factor" })
  })

  test("refuses tables of another head size and x without heads", () => {
    const run = new Run(device())
    const tables = ropeTables(device(), { headDim: 16, theta: 1e4, factor: 1 }, 512)
    const cursor = run.empty([2], "u32")
    expect(() => rope(run, run.empty([3, 2, 32]), tables, cursor)).toThrow(
      new RangeError("rope: table is [258, 8, 2], expected [258, 16, 2]"),
    )
    expect(() => rope(run, run.empty([3, 32]), tables, cursor)).toThrow(
      new RangeError("rope: x is [3, 32], expected [T, H, D]"),
    )
  })
})

describe("rope, backward", () => {
  const device = testDevice()

  test.each([
    { theta: 1e4, factor: 1 },
    { theta: 1e6, factor: 8 },
  ])("is the slope of its definition at any position, theta $theta, factor $factor", async (kind) => {
    for (const D of [8, 64, 256]) {
      const tables = ropeTables(device(), { headDim: D, ...kind }, 131_072)
      for (const [T, H] of [
        [1, 4],
        [5, 1],
        [33, 3],
      ] as const) {
        const [x, dy] = [uniform(T * H * D, 1), uniform(T * H * D, 2)]
        const [input, output] = [tensor(device(), [T, H, D], x), tensor(device(), [T, H, D], dy)]
        for (const position of [0, 250, 131_072 - T]) {
          const cursor = tensor(device(), [2], Uint32Array.of(position, 0))
          const [dx] = await gradients(device(), (run) => rope(run, input, tables, cursor), output, [input])
          const rotation = { H, D, position, ...kind }
          const what = `rope D ${D} at ${position}, dx`
          expectClose(dx!, reference.ropeBackward(dy, rotation), { absolute: 1e-6 }, { what })
          expectSlope(dx!, { f: (x) => reference.rope(x, rotation), x, dy }, 1e-6, { what })
        }
      }
    }
  })

  test("turns back what rope has turned", async () => {
    const tables = ropeTables(device(), { headDim: 64, theta: 1e4, factor: 1 }, 4096)
    const x = uniform(5 * 2 * 64, 3)
    const [input, cursor] = [tensor(device(), [5, 2, 64], x), tensor(device(), [2], Uint32Array.of(3000, 0))]
    const back = await compute(device(), (run) => {
      return ropeBackward(run, rope(run, input, tables, cursor), tables, cursor)
    })
    expectClose(back, x, { absolute: 1e-6 }, { what: "rope and back" })
  })
})
