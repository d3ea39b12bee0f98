import { describe, expect, test } from "vitest"
import { allColumns } from "../../src/kernels/active_columns.ts"
import { Run } from "../../src/kernels/run.ts"
import { sgdUpdate } from "../../src/kernels/sgd.ts"
import { sizeOf } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { golden } from "../helpers/golden.ts"
import { free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { bits, pick, read, recorded } from "../helpers/updates.ts"
import * as reference from "../reference/sgd.ts"

describe("sgdUpdate", () => {
  const device = testDevice()
  const plain = { momentum: 0, nesterov: false, decay: 0.1 }
  const heavy = { momentum: 0.9, nesterov: false, decay: 0.1 }
  const nesterov = { momentum: 0.9, nesterov: true, decay: 0.1 }
  const KINDS = [
    ["plain", plain],
    ["momentum", heavy],
    ["nesterov", nesterov],
  ] as const

  /** A weight with all that its update needs, the velocity zero where there is one. */
  function upload(
    shape: readonly number[],
    weight: Float32Array<ArrayBuffer>,
    { momentum, active = sizeOf(shape), factor = 1 }: { momentum: number; active?: number; factor?: number },
  ) {
    return {
      weight: tensor(device(), shape, weight),
      gradient: device().tensor("weights", shape),
      velocity: momentum > 0 ? device().tensor("weights", [active]) : undefined,
      settings: device().tensor("weights", [1]),
      clip: tensor(device(), [2], Float32Array.of(1, factor)),
    }
  }

  function release(x: ReturnType<typeof upload>): void {
    free(device(), ...Object.values(x).filter((tensor) => tensor !== undefined))
  }

  test.each([
    ["sgd_mom", { momentum: 0.9, nesterov: false, decay: 0.05 }],
    ["sgd_nesterov", { momentum: 0.9, nesterov: true, decay: 0 }],
  ])("takes the six steps of torch.optim.SGD, %s", async (name, constants) => {
    const ops = golden("goldens/ops")
    const [gradients, expected] = [ops.tensor("optim.grads"), ops.tensor(`optim.${name}`)]
    const x = upload([7, 5], new Float32Array(ops.tensor("optim.w0").data), constants)
    device().write(x.settings, Float32Array.of(0.01))
    const step = recorded(device(), (run) => sgdUpdate(run, x, allColumns(x.weight), constants))
    for (let t = 1; t <= 6; t++) {
      const at = (data: Float32Array) => data.slice((t - 1) * 35, t * 35)
      device().write(x.gradient, at(gradients.data))
      step()
      const what = `${name} golden ${t}`
      expectClose(await read(device(), x.weight), at(expected.data), { absolute: expected.tolerance }, { what })
    }
  })

  test.each(KINDS)("equals its definition for every shape, %s", async (name, constants) => {
    for (const [shape, factor] of [
      [[1], 1],
      [[7, 5], 0.37],
      [[3, 4, 5], 1],
      [[1_000_003], 0.25],
    ] as const) {
      const n = sizeOf(shape)
      const x = upload(shape, uniform(n, 1), { ...constants, factor })
      const step = recorded(device(), (run) => sgdUpdate(run, x, allColumns(x.weight), constants))
      let expected: reference.SgdState = { weight: Float64Array.from(uniform(n, 1)), velocity: undefined }
      for (let t = 1; t <= 3; t++) {
        const [gradient, rate] = [uniform(n, 1 + t, t), 0.05 / t]
        device().write(x.gradient, gradient)
        device().write(x.settings, Float32Array.of(rate))
        step()
        const clipped = Float64Array.from(gradient, (g) => g * Math.fround(factor))
        expected = reference.sgd(expected, clipped, { rate, ...constants })
      }
      const what = `sgd ${name} ${shape}`
      expectClose(await read(device(), x.weight), expected.weight, { relative: 1e-6 }, { what })
      if (x.velocity) {
        const velocity = await read(device(), x.velocity)
        expectClose(velocity, expected.velocity!, { relative: 1e-6 }, { what: `${what}, velocity` })
      }
      release(x)
    }
  })

  test.each(KINDS)("leaves no element out of more workgroups than one dimension has, %s", async (name, constants) => {
    const [n, period] = [4_200_003, 1021]
    const [weight, gradient] = [uniform(period, 4), uniform(period, 5)]
    const x = upload([n], repeat(weight, n), constants)
    device().write(x.gradient, repeat(gradient, n))
    device().write(x.settings, Float32Array.of(0.1))
    recorded(device(), (run) => sgdUpdate(run, x, allColumns(x.weight), constants))()
    const actual = await read(device(), x.weight)
    const block = actual.slice(0, period)
    const start = { weight: Float64Array.from(weight), velocity: undefined }
    const expected = reference.sgd(start, gradient, { rate: 0.1, ...constants })
    expectClose(block, expected.weight, { relative: 1e-6 }, { what: `sgd ${name} block` })
    expect(Buffer.compare(Buffer.from(actual.buffer), Buffer.from(repeat(block, n).buffer))).toBe(0)
    release(x)
  })

  test.each(KINDS)("changes only the active columns, %s", async (name, constants) => {
    const columns = { columns: 12, first: 3, active: 6 }
    const [weight, gradient] = [uniform(60, 6), uniform(60, 7)]
    const x = upload([5, 12], weight, { ...constants, active: 30 })
    device().write(x.gradient, gradient)
    device().write(x.settings, Float32Array.of(0.1))
    const step = recorded(device(), (run) => sgdUpdate(run, x, columns, constants))
    let expected: reference.SgdState = { weight: Float64Array.from(pick(weight, columns)), velocity: undefined }
    for (let t = 1; t <= 2; t++) {
      step()
      expected = reference.sgd(expected, pick(gradient, columns), { rate: 0.1, ...constants })
    }
    const actual = await read(device(), x.weight)
    expectClose(pick(actual, columns), expected.weight, { relative: 1e-6 }, { what: `sgd ${name} columns` })
    expect(pick(actual, columns, { others: true })).toEqual(pick(weight, columns, { others: true }))
  })

  test.each(KINDS)("leaves everything as it is, to the bit, where the factor is below 0, %s", async (_, constants) => {
    const x = upload([7, 5], uniform(35, 8), { ...constants, factor: -1 })
    device().write(x.gradient, uniform(35, 9).fill(Number.NaN, 3, 30))
    device().write(x.settings, Float32Array.of(0.1))
    if (x.velocity) device().write(x.velocity, uniform(35, 10))
    const kept = [x.weight, x.gradient, ...(x.velocity ? [x.velocity] : [])]
    const before = await bits(device(), ...kept)
    recorded(device(), (run) => sgdUpdate(run, x, allColumns(x.weight), constants))()
    expect(await bits(device(), ...kept)).toEqual(before)
  })

  test("refuses tensors of other sizes and types", () => {
    const run = new Run(device())
    const x = upload([4, 6], new Float32Array(24), { ...heavy, active: 8 })
    const columns = { columns: 6, first: 2, active: 2 }
    const update = (changed: Partial<typeof x>) => () => sgdUpdate(run, { ...x, ...changed }, columns, heavy)
    expect(update({})).not.toThrow()
    expect(update({ weight: run.empty([4, 6], "f16") })).toThrow(new TypeError("sgd: weight is f16, expected f32"))
    expect(update({ gradient: run.empty([4, 5]) })).toThrow(
      new RangeError("sgd: gradient is [4, 5], expected 24 elements"),
    )
    expect(update({ velocity: run.empty([4, 6]) })).toThrow(
      new RangeError("sgd: velocity is [4, 6], expected 8 elements"),
    )
    expect(update({ settings: run.empty([3]) })).toThrow(new RangeError("sgd: settings is [3], expected [1]"))
    expect(update({ clip: run.empty([1]) })).toThrow(new RangeError("sgd: clip is [1], expected [2]"))
  })
})
