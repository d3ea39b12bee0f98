import { expect } from "vitest"

export interface Tolerance {
  /** Allowed error, whatever the size of the numbers. */
  readonly absolute?: number
  /** Allowed error in units of the root mean square of what is expected. */
  readonly relative?: number
}

/** The largest errors seen, by what was compared; set GEMLET_TEST_ERRORS to have each printed. */
const report = process.env.GEMLET_TEST_ERRORS !== undefined

/** Fails unless every element is within the tolerance; a NaN never is. Says which is the worst. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { absolute = 0, relative = 0 }: Tolerance,
  { what }: { what: string },
): void {
  if (actual.length !== expected.length) {
    expect.fail(`${what}: length is ${actual.length}, expected ${expected.length}`)
  }
  let squares = 0
  for (let i = 0; i < expected.length; i++) squares += expected[i]! ** 2
  const rms = Math.sqrt(squares / Math.max(1, expected.length))
  const tolerance = absolute + relative * rms
  let worst = 0
  let error = -1
  let wrong = 0
  for (let i = 0; i < expected.length; i++) {
    const e = actual[i] === expected[i] ? 0 : Math.abs(actual[i]! - expected[i]!)
    if (!(e <= tolerance)) wrong++
    if (Number.isNaN(error) || e <= error) continue
    error = e // larger, or NaN, which stays
    worst = i
  }
  if (report)
    process.stderr.write(`${what}: error ${error.toExponential(1)}, of rms ${(error / rms).toExponential(1)}\n`)
  if (!(error <= tolerance)) {
    expect.fail(
      `${what}[${worst}]: is ${actual[worst]}, expected ${expected[worst]} within ${tolerance.toExponential(2)} ` +
        `(${wrong} of ${expected.length} are wrong)`,
    )
  }
}
