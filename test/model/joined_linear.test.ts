import { describe, expect, test } from "vitest"
import { Run } from "../../src/kernels/run.ts"
import { Tape } from "../../src/kernels/tape.ts"
import { format, type Matrix, rowSlice, type Tensor, view } from "../../src/kernels/tensor.ts"
import { gatedLinear, joinedLinear } from "../../src/model/joined_linear.ts"
import { type Linear, type LinearGroup, linears } from "../../src/model/linear.ts"
import { expectClose } from "../helpers/compare.ts"
import { compute, tensor, testDevice, uniform, weights } from "../helpers/kernels.ts"
import * as gated from "../reference/gated_linear.ts"
import * as product from "../reference/linear.ts"

describe("joinedLinear and gatedLinear", () => {
  const device = testDevice()
  const [C, F] = [64, 64]
  const weight = weights(2 * F * C, 2, "bf16")

  function asMatrix(tensor: Tensor): Matrix {
    const [rows, columns] = tensor.shape as [number, number]
    return { shape: [rows, columns], dtype: tensor.dtype, parts: [{ firstRow: 0, rows, tensor }] }
  }

  /** Two layers whose weights lie behind one another. */
  function group(): { joined: LinearGroup["joined"]; layers: [Linear, Linear] } {
    const whole = tensor(device(), [2 * F, C], weight)
    const layer = (first: number): Linear => {
      const matrix = asMatrix(rowSlice(whole, first, first + F))
      return { shape: [F, C], weight: { kind: "dense", matrix }, adapters: [] }
    }
    return { joined: { kind: "dense", matrix: asMatrix(whole) }, layers: [layer(0), layer(F)] }
  }

  test.each([1, 5])("give what the layers give, T = %i", async (T) => {
    const x = uniform(T * C, 1)
    const input = tensor(device(), [T, C], x)
    const both = group()
    const joined = await compute(device(), (run) => joinedLinear(run, input, both) as Tensor)
    expectClose(joined, product.linear(x, weight.values, C), { relative: 6e-6 }, { what: "joinedLinear" })
    const y = await compute(device(), (run) => gatedLinear(run, input, both, "silu"))
    const expected = gated.gatedLinear(x, weight.values, C, "silu")
    expectClose(y, expected, { relative: 6e-6 }, { what: "gatedLinear joined" })
    const apart = await compute(device(), (run) => gatedLinear(run, input, { layers: both.layers }, "silu"))
    expectClose(apart, expected, { relative: 6e-6 }, { what: "gatedLinear apart" })
  })

  test("tell the layers apart on a tape, for adapters and observers, and where all they give is too large", () => {
    const shapes = (x: (run: Run) => Tensor, { layers, joined }: LinearGroup, tape?: Tape) => {
      const run = new Run(device(), tape)
      const y = joinedLinear(run, x(run), { layers, joined })
      return (Array.isArray(y) ? y : [y]).map(({ shape }) => format(shape))
    }
    const x = (run: Run) => run.empty([3, C])
    const each = ["[3, 64]", "[3, 64]"]
    expect(shapes(x, group())).toEqual(["[3, 128]"])
    expect(shapes(x, { layers: group().layers })).toEqual(each)
    expect(shapes(x, group(), new Tape())).toEqual(each)
    const observed = group()
    const seen: Tensor[] = []
    observed.layers[1].observe = (_, x) => seen.push(x)
    expect(shapes(x, observed)).toEqual(each)
    expect(seen.length).toBe(1)
    const adapted = group()
    const factors = {
      a: asMatrix(tensor(device(), [4, C], weights(4 * C, 3, "f32"))),
      b: asMatrix(tensor(device(), [F, 4], weights(4 * F, 4, "f32"))),
    }
    adapted.layers[0].adapters = [{ ...factors, scale: 1 }]
    expect(shapes(x, adapted)).toEqual(each)
    const T = device().maxBinding / 4 / (2 * F) + 1
    expect(shapes((run) => run.empty([T, C]), group())).toEqual([format([T, F]), format([T, F])])
  })

  test("leave layers apart whose outputs could not be bound one by one", async () => {
    const x = uniform(C, 1)
    const whole = tensor(device(), [96, C], weights(96 * C, 2, "bf16"))
    const layers = [rowSlice(whole, 0, 32), rowSlice(whole, 32, 96)].map(
      (part): Linear => ({
        shape: [part.shape[0]!, C],
        weight: { kind: "dense", matrix: asMatrix(part) },
        adapters: [],
      }),
    )
    const both = { layers, joined: { kind: "dense", matrix: asMatrix(whole) } } as const
    const y = await compute(device(), (run) => {
      const [, second] = linears(run, tensor(device(), [1, C], x), both)
      return view(second!, [1, 64])
    })
    const expected = product.linear(x, weights(96 * C, 2, "bf16").values, C).subarray(32)
    expectClose(y, expected, { relative: 6e-6 }, { what: "the second of two layers" })
  })
})
