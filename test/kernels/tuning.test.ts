import { describe, expect, test } from "vitest"
import type { DeviceOptions } from "../../src/kernels/device.ts"
import { expectTuning } from "../../src/kernels/tuning.ts"
import { openTestDevice } from "../helpers/device.ts"

describe("Device.tuning", () => {
  test("is what was chosen, else what is usual for such an adapter, and the same beside it", async () => {
    const [usual, chosen] = await Promise.all([openTestDevice(), openTestDevice({ tuning: { split: 8 } })])
    const software = { split: 1, products: "subgroup", attention: "subgroup", ternary: "halves" }
    const hardware = { split: 32, products: "plain", attention: "plain", ternary: "dot4" }
    const expected = usual.software ? software : hardware
    expect(usual.tuning).toEqual(expected)
    expect([chosen.tuning, chosen.chosen]).toEqual([{ ...expected, split: 8 }, { split: 8 }])
    chosen.tuning = { ...chosen.tuning, ternary: "dot4" }
    const beside = chosen.beside()
    expect(beside.tuning).toEqual(chosen.tuning)
    for (const device of [beside, chosen, usual]) device.dispose()
  })

  test("refuses choices that there are not", async () => {
    const tuning = { split: 2 } as unknown as NonNullable<DeviceOptions["tuning"]>
    await expect(openTestDevice({ tuning })).rejects.toThrow(
      new RangeError("tuning: split is 2, expected one of 1, 8, 32"),
    )
    expect(() => expectTuning({ tiles: 8 } as object)).toThrow(
      new RangeError("tuning: tiles is no choice, expected one of split, products, attention, ternary"),
    )
  })
})
