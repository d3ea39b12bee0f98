import { describe, expect, test } from "vitest"
import { randomFrom } from "../tokenizer/fixtures.ts"
import { accepts } from "./accepts.ts"

type Bounds = Partial<Record<"minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", number>>

const holds = (x: number, { minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Bounds) =>
  x >= (minimum ?? -Infinity) &&
  x <= (maximum ?? Infinity) &&
  x > (exclusiveMinimum ?? -Infinity) &&
  x < (exclusiveMaximum ?? Infinity)

describe("bounds of integers", () => {
  test.each<Bounds>([
    { minimum: 0 },
    { maximum: -1 },
    { minimum: -7, maximum: 7 },
    { minimum: 95, maximum: 1010 },
    { minimum: 100, maximum: 199 },
    { exclusiveMinimum: -100, exclusiveMaximum: 100 },
    { minimum: 5, exclusiveMinimum: 5, maximum: 9, exclusiveMaximum: 8 },
    { minimum: -0.5, maximum: 10.5 },
    { exclusiveMinimum: 1.5, exclusiveMaximum: 12.5 },
    { minimum: 42, maximum: 42 },
    { minimum: -1e300, maximum: 1e300 },
    {},
  ])("%o hold for every one", (bounds) => {
    const accepted = accepts({ type: "integer", ...bounds })
    for (let n = -1200; n <= 1200; n++) expect(accepted(String(n)), String(n)).toBe(holds(n, bounds))
    for (const text of ["", "-", "-0", "00", "01", "1.0", "1e1", "+1"]) expect(accepted(text), text).toBe(false)
  })

  test("are kept to fifteen digits", () => {
    const accepted = accepts({ type: "integer", minimum: 999_999_999_999_990, maximum: 2 ** 63 })
    expect(accepted("999999999999999")).toBe(true)
    expect(accepted("999999999999989")).toBe(false)
    expect(accepted("1000000000000000")).toBe(false)
  })
})

describe("bounds of numbers", () => {
  test.each<Bounds>([
    { minimum: 0 },
    { exclusiveMinimum: 0 },
    { exclusiveMaximum: 0 },
    { maximum: 0 },
    { minimum: 0.05, maximum: 0.5 },
    { exclusiveMinimum: -1.25, maximum: 12.5 },
    { exclusiveMinimum: -1.25, exclusiveMaximum: -1.2 },
    { minimum: 9.99, exclusiveMaximum: 100.01 },
    { minimum: 1e-7, maximum: 2 },
    { minimum: 3, maximum: 3 },
    { minimum: -1e20, maximum: 7.125 },
  ])("%o hold for decimals", (bounds) => {
    const accepted = accepts({ type: "number", ...bounds })
    const next = randomFrom(3)
    let inside = 0
    for (let i = 0; i < 1500; i++) {
      const size = 10 ** Math.floor(next() * 5 - 2)
      const text = ((next() - 0.5) * size * 4).toFixed(Math.floor(next() * 4))
      if (text.startsWith("-") && Number(text) === 0) continue
      expect(accepted(text), text).toBe(holds(Number(text), bounds))
      if (accepted(text)) inside++
    }
    expect(inside).toBeGreaterThan(0)
    for (const text of ["1.", ".1", "01", "1e0", "--1", "-"]) expect(accepted(text), text).toBe(false)
  })

  test("hold for what a double cannot tell from the bound", () => {
    const above = accepts({ type: "number", exclusiveMinimum: 0.1, maximum: 9.5 })
    expect(above("0.1000000000000000001")).toBe(false) // is read as 0.1
    expect(above("0.10000000000001")).toBe(true)
    expect(above("9.50000000000000")).toBe(true)
    expect(above("9.50000000000001")).toBe(false)
    expect(above("0.1")).toBe(false)
    const near = accepts({ type: "number", exclusiveMaximum: 99_999_999_999_999.5 })
    expect(near("99999999999999.4")).toBe(true)
    expect(near("99999999999999.49")).toBe(false) // sixteen digits
  })
})
