import { describe, expect, test } from "vitest"
import { SCHEDULES, type ScheduleName, schedule } from "../../src/train/schedule.ts"
import { expectClose } from "../helpers/compare.ts"
import { golden } from "../helpers/golden.ts"
import * as reference from "../reference/schedule.ts"

/** The multipliers of the first n steps. */
function curve(at: (step: number) => number, n: number): number[] {
  return Array.from({ length: n }, (_, step) => at(step))
}

describe("schedule", () => {
  test.each([
    ["constant_w5", "constant", { steps: 40, warmup: 5 }],
    ["linear_w5_t40", "linear", { steps: 40, warmup: 5 }],
    ["cosine_w5_t40", "cosine", { steps: 40, warmup: 5 }],
    ["cosine_min0.1_w5_t40", "cosine", { steps: 40, warmup: 5, minimum: 0.1 }],
  ] as const)("gives the multipliers of transformers, %s, also past the end", (tensor, name, options) => {
    const { data } = golden("goldens/ops").tensor(`schedule.${tensor}`)
    // The golden values are read as f32.
    expectClose(curve(schedule(name, options), data.length), data, { absolute: 6e-8 }, { what: tensor })
  })

  test.each([
    { steps: 1, warmup: 0 },
    { steps: 7, warmup: 7 },
    { steps: 41, warmup: 3 },
    { steps: 1000, warmup: 100, minimum: 0.25 },
  ])("equals its definition in every shape for %j", (options) => {
    for (const name of SCHEDULES) {
      const own = name === "cosine" ? options : { ...options, minimum: 0 }
      const expected = curve((step) => reference.schedule(name, step, own), options.steps + 2)
      const what = `${name} ${JSON.stringify(options)}`
      expectClose(curve(schedule(name, own), expected.length), expected, { absolute: 1e-14 }, { what })
    }
  })

  test("rises over 50 steps and stays there", () => {
    const at = schedule("constant", { steps: 300, warmup: 50 })
    expect([at(0), at(1), at(25), at(49), at(50), at(299)]).toEqual([0, 0.02, 0.5, 0.98, 1, 1])
  })

  test("halves once, from the middle of the run on", () => {
    const at = schedule("halve", { steps: 10, warmup: 2 })
    expect(curve(at, 10)).toEqual([0, 0.5, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5])
    expect(curve(schedule("halve", { steps: 3 }), 3)).toEqual([1, 1, 0.5])
  })

  test("starts at the peak without a warm-up", () => {
    for (const name of SCHEDULES) expect(schedule(name, { steps: 10 })(0), name).toBe(1)
  })

  test("refuses what is no schedule, by name", () => {
    expect(() => schedule("step" as ScheduleName, { steps: 10 })).toThrow(
      new RangeError("schedule: name is step, expected one of constant, linear, cosine, halve"),
    )
    for (const steps of [0, -1, 2.5, Number.NaN]) {
      expect(() => schedule("linear", { steps })).toThrow(
        new RangeError(`schedule: steps is ${steps}, expected an integer above 0`),
      )
    }
    for (const warmup of [-1, 11, 2.5, Number.NaN]) {
      expect(() => schedule("linear", { steps: 10, warmup })).toThrow(
        new RangeError(`schedule: warmup is ${warmup}, expected an integer from 0 to steps = 10`),
      )
    }
    for (const minimum of [-0.1, 1.1, Number.NaN]) {
      expect(() => schedule("cosine", { steps: 10, minimum })).toThrow(
        new RangeError(`schedule: minimum is ${minimum}, expected a number from 0 to 1`),
      )
    }
    expect(() => schedule("linear", { steps: 10, minimum: 0.1 })).toThrow(
      new RangeError("schedule: minimum is 0.1 for linear, expected one for cosine only"),
    )
  })
})
