import { describe, expect, test } from "vitest"
import { allColumns } from "../../src/kernels/active_columns.ts"
import { globalNorm } from "../../src/kernels/global_norm.ts"
import { Run } from "../../src/kernels/run.ts"
import type { Tensor } from "../../src/kernels/tensor.ts"
import { adamw, type Optimizer, sgd } from "../../src/train/optimizer.ts"
import { expectClose } from "../helpers/compare.ts"
import { tensor, testDevice, uniform } from "../helpers/kernels.ts"
import { bits, pick, read, recorded } from "../helpers/updates.ts"
import * as adamwReference from "../reference/adamw.ts"
import { globalNorm as normReference } from "../reference/global_norm.ts"
import * as sgdReference from "../reference/sgd.ts"

const device = testDevice()

/** A matrix, a vector without decay and a matrix of which only some columns are trained. */
const WEIGHTS = [
  { shape: [7, 5], columns: 5, first: 0, active: 5, decay: true },
  { shape: [9], columns: 9, first: 0, active: 9, decay: false },
  { shape: [4, 8], columns: 8, first: 3, active: 4, decay: true },
]
const SIZES = [35, 9, 32]
const weightsAtFirst = () => SIZES.map((n, i) => uniform(n, i + 1))
const gradientsOf = (t: number) => SIZES.map((n, i) => uniform(n, 10 * t + i, t))

/** All weights with an optimizer's whole update recorded once. */
function trainer(optimizer: Optimizer, maxNorm?: number) {
  const settings = device().tensor("weights", [optimizer.settingsSize])
  const all = WEIGHTS.map(({ shape, ...rest }, i) => ({
    ...rest,
    weight: tensor(device(), shape, weightsAtFirst()[i]!),
    gradient: device().tensor("weights", shape),
    state: optimizer.state.map(() => device().tensor("weights", [(SIZES[i]! / rest.columns) * rest.active])),
  }))
  const submit = recorded(device(), (run) => {
    const clip = globalNorm(run, all, { maxNorm })
    for (const one of all) optimizer.update(run, { ...one, settings, clip })
  })
  function step(t: number, rate: number, gradients = gradientsOf(t)): void {
    device().write(settings, optimizer.settings(t, rate))
    for (const [i, { gradient }] of all.entries()) device().write(gradient, gradients[i]!)
    submit()
  }
  const touched: Tensor[] = all.flatMap(({ weight, state }) => [weight, ...state])
  return { all, step, touched }
}

/** The active gradients of a step, clipped together. */
function clippedGradients(t: number, maxNorm?: number): Float64Array[] {
  const active = gradientsOf(t).map((gradient, i) => pick(gradient, WEIGHTS[i]!))
  const { factor } = normReference(active, maxNorm)
  return active.map((gradient) => Float64Array.from(gradient, (g) => g * factor))
}

async function expectWeights(
  { all }: ReturnType<typeof trainer>,
  expected: readonly { weight: Float64Array }[],
  what: string,
): Promise<void> {
  for (const [i, { weight, ...columns }] of all.entries()) {
    const [before, after] = [weightsAtFirst()[i]!, await read(device(), weight)]
    expectClose(pick(after, columns), expected[i]!.weight, { relative: 1e-6 }, { what: `${what} ${i}` })
    expect(pick(after, columns, { others: true })).toEqual(pick(before, columns, { others: true }))
  }
}

describe("adamw", () => {
  test.each([undefined, 2])(
    "updates several weights like its definition over five steps, norm at most %s",
    async (maxNorm) => {
      const options = { betas: [0.9, 0.95], eps: 1e-7, weightDecay: 0.2 } as const
      const training = trainer(adamw(options), maxNorm)
      let expected = weightsAtFirst().map((weight, i) => adamwReference.adamwStart(pick(weight, WEIGHTS[i]!)))
      for (let t = 1; t <= 5; t++) {
        const rate = 0.01 * t
        training.step(t, rate)
        const gradients = clippedGradients(t, maxNorm)
        expected = expected.map((state, i) => {
          const decay = WEIGHTS[i]!.decay ? 0.2 : 0
          return adamwReference.adamw(state, gradients[i]!, { t, rate, ...options, decay })
        })
      }
      await expectWeights(training, expected, `adamw, norm at most ${maxNorm}`)
    },
  )

  test("has PyTorch's defaults", async () => {
    const training = trainer(adamw())
    training.step(1, 0.1)
    const constants = { t: 1, rate: 0.1, betas: [0.9, 0.999], eps: 1e-8 }
    const gradients = clippedGradients(1)
    const expected = weightsAtFirst().map((weight, i) => {
      const start = adamwReference.adamwStart(pick(weight, WEIGHTS[i]!))
      return adamwReference.adamw(start, gradients[i]!, { ...constants, decay: WEIGHTS[i]!.decay ? 0.01 : 0 })
    })
    await expectWeights(training, expected, "adamw defaults")
    expect(adamw().settings(1, 0.1)).toEqual(Float32Array.of(0.1, 0.1 / (1 - 0.9), Math.sqrt(1 - 0.999)))
  })

  test("corrects the bias in float64, however small or large the step", () => {
    const at = (t: number) => adamw({ betas: [0.9, 0.999_999] }).settings(t, 1)[2]!
    expectClose([at(1), at(2), at(1e9)], [1e-3, Math.sqrt(2e-6 - 1e-12), 1], { absolute: 1e-9 }, { what: "bias" })
  })

  test("names its state and refuses another number of tensors", () => {
    const optimizer = adamw()
    expect(optimizer).toMatchObject({ name: "adamw", state: ["first_moment", "second_moment"], settingsSize: 3 })
    const x = device().tensor("weights", [4])
    const update = { weight: x, gradient: x, state: [x], settings: x, clip: x, decay: true, ...allColumns(x) }
    expect(() => optimizer.update(new Run(device()), update)).toThrow(
      new RangeError("adamw: state is 1 tensors, expected 2 (first_moment, second_moment)"),
    )
  })

  test("refuses options, steps and rates out of range, by name", () => {
    const refused = [
      [{ betas: [1, 0.9] }, "betas[0] is 1, expected a number from 0 to below 1"],
      [{ betas: [0.9, -0.1] }, "betas[1] is -0.1, expected a number from 0 to below 1"],
      [{ betas: [0.9, Number.NaN] }, "betas[1] is NaN, expected a number from 0 to below 1"],
      [{ eps: 0 }, "eps is 0, expected a number from 1e-30 to 1"],
      [{ eps: Number.NaN }, "eps is NaN, expected a number from 1e-30 to 1"],
      [{ weightDecay: -1 }, "weightDecay is -1, expected a number from 0 up"],
      [{ weightDecay: Number.POSITIVE_INFINITY }, "weightDecay is Infinity, expected a number from 0 up"],
    ] as const
    for (const [options, message] of refused) {
      expect(() => adamw(options)).toThrow(new RangeError(`adamw: ${message}`))
    }
    for (const step of [0, 1.5, Number.NaN]) {
      expect(() => adamw().settings(step, 0.1)).toThrow(
        new RangeError(`adamw: step is ${step}, expected an integer from 1 up`),
      )
    }
    for (const rate of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => adamw().settings(1, rate)).toThrow(
        new RangeError(`adamw: learning rate is ${rate}, expected a number from 0 up`),
      )
    }
  })
})

describe("sgd", () => {
  test.each([
    [{}, undefined],
    [{ weightDecay: 0.2 }, 2],
    [{ momentum: 0.9 }, undefined],
    [{ momentum: 0.8, nesterov: true, weightDecay: 0.2 }, 2],
  ])("updates several weights like its definition over five steps, %j, norm at most %s", async (options, maxNorm) => {
    const training = trainer(sgd(options), maxNorm)
    let expected = weightsAtFirst().map((weight, i): sgdReference.SgdState => {
      return { weight: Float64Array.from(pick(weight, WEIGHTS[i]!)), velocity: undefined }
    })
    const { momentum = 0, nesterov = false, weightDecay = 0 }: Parameters<typeof sgd>[0] & object = options
    for (let t = 1; t <= 5; t++) {
      const rate = 0.01 * t
      training.step(t, rate)
      const gradients = clippedGradients(t, maxNorm)
      expected = expected.map((state, i) => {
        const decay = WEIGHTS[i]!.decay ? weightDecay : 0
        return sgdReference.sgd(state, gradients[i]!, { rate, momentum, nesterov, decay })
      })
    }
    await expectWeights(training, expected, `sgd ${JSON.stringify(options)}`)
  })

  test("keeps a velocity only with momentum", () => {
    expect(sgd()).toMatchObject({ name: "sgd", state: [], settingsSize: 1 })
    expect(sgd({ momentum: 0.9 }).state).toEqual(["velocity"])
    const x = device().tensor("weights", [4])
    const update = { weight: x, gradient: x, state: [x], settings: x, clip: x, decay: true, ...allColumns(x) }
    expect(() => sgd().update(new Run(device()), update)).toThrow(
      new RangeError("sgd: state is 1 tensors, expected 0 ()"),
    )
  })

  test("refuses options, steps and rates out of range, by name", () => {
    const refused = [
      [{ momentum: 1 }, "momentum is 1, expected a number from 0 to below 1"],
      [{ nesterov: true }, "momentum is 0, expected more with nesterov"],
      [{ weightDecay: Number.NaN }, "weightDecay is NaN, expected a number from 0 up"],
    ] as const
    for (const [options, message] of refused) {
      expect(() => sgd(options)).toThrow(new RangeError(`sgd: ${message}`))
    }
    expect(() => sgd().settings(0, 0.1)).toThrow(new RangeError("sgd: step is 0, expected an integer from 1 up"))
    expect(() => sgd().settings(1, -1)).toThrow(new RangeError("sgd: learning rate is -1, expected a number from 0 up"))
  })
})

describe("update", () => {
  test.each([
    ["adamw", adamw({ weightDecay: 0.2 })],
    ["sgd", sgd({ weightDecay: 0.2 })],
    ["sgd with momentum", sgd({ momentum: 0.9, weightDecay: 0.2 })],
  ])(
    "of %s changes no bit of any weight or state where one gradient is not finite, and goes on after",
    async (_, optimizer) => {
      const training = trainer(optimizer, 1)
      training.step(1, 0.1)
      const before = await bits(device(), ...training.touched)
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        const gradients = gradientsOf(2)
        gradients[1]![4] = value
        training.step(2, 0.1, gradients)
        expect(await bits(device(), ...training.touched), `${value}`).toEqual(before)
      }
      training.step(2, 0.1)
      for (const [i, now] of (await bits(device(), ...training.touched)).entries()) expect(now).not.toEqual(before[i])
    },
  )

  test("does not ask after gradients of columns that are not trained", async () => {
    const training = trainer(adamw(), 1)
    const gradients = gradientsOf(1)
    gradients[2]![0] = Number.NaN
    training.step(1, 0.1, gradients)
    const [weight] = await bits(device(), training.all[0]!.weight)
    expect(weight).not.toEqual(new Uint32Array(weightsAtFirst()[0]!.buffer))
  })
})
