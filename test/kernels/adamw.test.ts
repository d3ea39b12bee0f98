import { describe, expect, test } from "vitest"
import { allColumns } from "../../src/kernels/active_columns.ts"
import { adamwSettings, adamwUpdate } from "../../src/kernels/adamw.ts"
import { Run } from "../../src/kernels/run.ts"
import { sizeOf } from "../../src/kernels/tensor.ts"
import { expectClose } from "../helpers/compare.ts"
import { golden } from "../helpers/golden.ts"
import { free, repeat, tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { bits, pick, read, recorded } from "../helpers/updates.ts"
import * as reference from "../reference/adamw.ts"

describe("adamwUpdate", () => {
  const device = testDevice()
  const constants = { betas: [0.9, 0.95], eps: 1e-8, decay: 0.1 } as const

  /** A weight with all that its update needs, the moments zero. */
  function upload(
    shape: readonly number[],
    weight: Float32Array<ArrayBuffer>,
    { active = sizeOf(shape), factor = 1 } = {},
  ) {
    return {
      weight: tensor(device(), shape, weight),
      gradient: device().tensor("weights", shape),
      firstMoment: device().tensor("weights", [active]),
      secondMoment: device().tensor("weights", [active]),
      settings: device().tensor("weights", [3]),
      clip: tensor(device(), [2], Float32Array.of(1, factor)),
    }
  }

  test("takes the six steps of torch.optim.AdamW", async () => {
    const ops = golden("goldens/ops")
    const [gradients, expected] = [ops.tensor("optim.grads"), ops.tensor("optim.adamw")]
    const x = upload([7, 5], new Float32Array(ops.tensor("optim.w0").data))
    const step = recorded(device(), (run) => adamwUpdate(run, x, allColumns(x.weight), constants))
    for (let t = 1; t <= 6; t++) {
      const at = (data: Float32Array) => data.slice((t - 1) * 35, t * 35)
      device().write(x.gradient, at(gradients.data))
      device().write(x.settings, adamwSettings(t, 0.01, constants.betas))
      step()
      const what = `adamw golden ${t}`
      expectClose(await read(device(), x.weight), at(expected.data), { absolute: expected.tolerance }, { what })
    }
  })

  test.each([
    [[1], 1],
    [[7, 5], 0.37],
    [[3, 4, 5], 1],
    [[1_000_003], 0.001],
  ])("equals its definition for %j with factor %f", async (shape, factor) => {
    const n = sizeOf(shape)
    const weight = uniform(n, 1)
    const x = upload(shape, weight, { factor })
    const step = recorded(device(), (run) => adamwUpdate(run, x, allColumns(x.weight), constants))
    let expected = reference.adamwStart(weight)
    for (let t = 1; t <= 3; t++) {
      const [gradient, rate] = [uniform(n, 1 + t, t), 0.02 / t]
      device().write(x.gradient, gradient)
      device().write(x.settings, adamwSettings(t, rate, constants.betas))
      step()
      const clipped = Float64Array.from(gradient, (g) => g * Math.fround(factor))
      expected = reference.adamw(expected, clipped, { t, rate, ...constants })
    }
    const [what, tolerance] = [`adamw ${shape}`, { relative: 1e-6 }]
    expectClose(await read(device(), x.weight), expected.weight, tolerance, { what })
    expectClose(await read(device(), x.firstMoment), expected.m, tolerance, { what: `${what}, first moment` })
    expectClose(await read(device(), x.secondMoment), expected.v, tolerance, { what: `${what}, second moment` })
    free(device(), ...Object.values(x))
  })

  test("leaves no element out where there are more workgroups than one dimension has", async () => {
    const [n, period] = [4_200_003, 1021]
    const [weight, gradient] = [uniform(period, 4), uniform(period, 5)]
    const x = upload([n], repeat(weight, n))
    device().write(x.gradient, repeat(gradient, n))
    device().write(x.settings, adamwSettings(1, 0.01, constants.betas))
    recorded(device(), (run) => adamwUpdate(run, x, allColumns(x.weight), constants))()
    const actual = await read(device(), x.weight)
    const block = actual.slice(0, period)
    const expected = reference.adamw(reference.adamwStart(weight), gradient, { t: 1, rate: 0.01, ...constants })
    expectClose(block, expected.weight, { relative: 1e-6 }, { what: "adamw block" })
    expect(Buffer.compare(Buffer.from(actual.buffer), Buffer.from(repeat(block, n).buffer))).toBe(0)
    free(device(), ...Object.values(x))
  })

  test.each([
    [[5, 12], { columns: 12, first: 3, active: 6 }],
    [[40, 8], { columns: 8, first: 7, active: 1 }],
    [[33, 20], { columns: 20, first: 0, active: 17 }],
  ])("changes only the active columns of %j, %j", async (shape, columns) => {
    const n = sizeOf(shape)
    const [weight, gradient] = [uniform(n, 6), uniform(n, 7)]
    const x = upload(shape, weight, { active: (n / columns.columns) * columns.active })
    const step = recorded(device(), (run) => adamwUpdate(run, x, columns, constants))
    device().write(x.gradient, gradient)
    let expected = reference.adamwStart(pick(weight, columns))
    for (const t of [1, 2]) {
      device().write(x.settings, adamwSettings(t, 0.01, constants.betas))
      step()
      expected = reference.adamw(expected, pick(gradient, columns), { t, rate: 0.01, ...constants })
    }
    const actual = await read(device(), x.weight)
    expectClose(pick(actual, columns), expected.weight, { relative: 1e-6 }, { what: `adamw ${shape}` })
    expectClose(await read(device(), x.firstMoment), expected.m, { relative: 1e-6 }, { what: `adamw ${shape}, m` })
    expect(pick(actual, columns, { others: true })).toEqual(pick(weight, columns, { others: true }))
  })

  test("lets a weight without gradient decay, by however little", async () => {
    const weight = uniform(4096, 8)
    const x = upload([4096], weight)
    device().write(x.settings, adamwSettings(1, 1e-4, constants.betas))
    recorded(device(), (run) => adamwUpdate(run, x, allColumns(x.weight), { ...constants, decay: 0.01 }))()
    const actual = await read(device(), x.weight)
    const size = (values: Float32Array) => values.reduce((sum, value) => sum + Math.abs(value), 0)
    expectClose([1 - size(actual) / size(weight)], [1e-6], { absolute: 5e-9 }, { what: "adamw decay" })
    expect([...(await read(device(), x.secondMoment))].every((value) => value === 0)).toBe(true)
  })

  test("leaves everything as it is, to the bit, where the factor is below 0", async () => {
    const x = upload([7, 5], uniform(35, 9), { factor: -1 })
    device().write(x.firstMoment, uniform(35, 10))
    device().write(x.secondMoment, uniform(35, 11).map(Math.abs))
    device().write(x.gradient, uniform(35, 12).fill(Number.NaN, 3, 30))
    device().write(x.settings, adamwSettings(2, 0.01, constants.betas))
    const before = await bits(device(), x.weight, x.firstMoment, x.secondMoment)
    recorded(device(), (run) => adamwUpdate(run, x, allColumns(x.weight), constants))()
    expect(await bits(device(), x.weight, x.firstMoment, x.secondMoment)).toEqual(before)
  })

  test("leaves the gradient as it is", async () => {
    const x = upload([7, 5], uniform(35, 13))
    device().write(x.gradient, uniform(35, 14))
    device().write(x.settings, adamwSettings(1, 0.01, constants.betas))
    recorded(device(), (run) => adamwUpdate(run, x, allColumns(x.weight), constants))()
    expect(await read(device(), x.gradient)).toEqual(uniform(35, 14))
  })

  test("refuses tensors of other sizes and types", () => {
    const run = new Run(device())
    const x = upload([4, 6], new Float32Array(24), { active: 8 })
    const columns = { columns: 6, first: 2, active: 2 }
    const update = (changed: Partial<typeof x>) => () => adamwUpdate(run, { ...x, ...changed }, columns, constants)
    expect(update({})).not.toThrow()
    expect(update({ weight: run.empty([4, 6], "bf16") })).toThrow(new TypeError("adamw: weight is bf16, expected f32"))
    expect(update({ weight: run.empty([5, 5]) })).toThrow(
      new RangeError("adamw: weight is [5, 5], expected whole rows of 6"),
    )
    expect(update({ gradient: run.empty([4, 5]) })).toThrow(
      new RangeError("adamw: gradient is [4, 5], expected 24 elements"),
    )
    expect(update({ firstMoment: run.empty([4, 6]) })).toThrow(
      new RangeError("adamw: firstMoment is [4, 6], expected 8 elements"),
    )
    expect(update({ secondMoment: run.empty([8], "u32") })).toThrow(
      new TypeError("adamw: secondMoment is u32, expected f32"),
    )
    expect(update({ settings: run.empty([1]) })).toThrow(new RangeError("adamw: settings is [1], expected [3]"))
    expect(update({ clip: run.empty([1]) })).toThrow(new RangeError("adamw: clip is [1], expected [2]"))
  })
})
