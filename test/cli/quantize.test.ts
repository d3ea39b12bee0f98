import { existsSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json } from "./run.ts"
import { expectSuccess, Workplace } from "./training.ts"

describe("quantize", () => {
  let place: Workplace
  let text: string
  beforeAll(async () => {
    place = await Workplace.make()
    text = place.write("texts.txt", "Once there was a dog who liked to sing. The end.\n".repeat(40))
  })
  afterAll(() => place.remove())

  function quantize(...args: string[]) {
    return gemlet(["quantize", "--model", place.model, ...args])
  }

  test("quantize writes a smaller checkpoint that answers as loading with that type does", async () => {
    const out = place.path("small")
    const result = json(await quantize("--dtype", "q8", ...DEVICE, "--out", out, "--json"))
    expectDocumented("quantize", result)
    expect(result).toMatchObject({ model: place.model, out, dtype: "q8", calibrated: 0 })
    expect(result.weights).toBeGreaterThan(0)
    const [before, after] = ["base", "small"].map((folder) => place.read(folder, "model.safetensors").byteLength)
    expect(Math.abs(result.bytesBefore - result.bytesAfter - (before! - after!))).toBeLessThan(4096) // their headers
    const score = (...args: string[]) => gemlet(["score", ...args, ...DEVICE, "--json", "Once there was a cat."])
    const kept = json(await score("--model", out))
    expect(kept.loss).toBe(json(await score("--model", place.model, "--dtype", "q8")).loss)
    expect(json(await gemlet(["inspect", "--model", out, "--json"])).weights.byDtype).toHaveProperty("q8")
  })

  test("quantize --calibrate rounds for a text, and --evaluate tells what has changed", async () => {
    const out = place.path("calibrated")
    const args = ["--calibrate", text, "--evaluate", text, "--context", "64", ...DEVICE]
    const result = json(await quantize(...args, "--out", out, "--json"))
    expectDocumented("quantize", result)
    const { dtype, weights, calibrated, evaluation } = result
    expect([dtype, calibrated]).toEqual(["q4", weights])
    expect(evaluation.tokens).toBeGreaterThan(100)
    expect(evaluation.perplexity.after).not.toBe(evaluation.perplexity.before)
    expect(evaluation.kl).toBeGreaterThan(0)
    expect(evaluation.agreement).toBeGreaterThan(0)
    expect(evaluation.agreement).toBeLessThanOrEqual(1)
    const shown = expectSuccess(await quantize(...args, "--out", place.path("shown")))
    expect(shown).toMatch(/^weights +\d+, \d+ of them calibrated$/m)
    expect(shown).toMatch(/^bytes +\d.* instead of \d/m)
    expect(shown).toMatch(/^perplexity +\d+\.\d{3} instead of \d+\.\d{3} \(-?\d+\.\d\d % more\)$/m)
    expect(shown).toMatch(/^KL divergence +\d\.\d{4} nats per token$/m)
    expect(shown).toMatch(/^same likeliest token +\d+\.\d %$/m)
    const plain = expectSuccess(await quantize(...DEVICE, "--out", place.path("plain")))
    expect(plain).toMatch(/^perplexity +not measured; --evaluate FILE does$/m)
  })

  test("quantize refuses what it cannot do, before it does anything", async () => {
    const out = ["--out", place.path("x")]
    const empty = place.write("empty.txt", "")
    const cases: [string[], string][] = [
      [[], "--out: is missing, expected a folder to write the checkpoint into"],
      [["--dtype", "q2", ...out], '--dtype: value is "q2", expected one of q4, q8'],
      [["--dtype", "q8", "--calibrate", text, ...out], "--calibrate: is given with q8, expected q4"],
      [["--calibrate", empty, ...out], "--calibrate: text is empty, expected some"],
      [["--out", place.model, "--force"], "is read from, expected another folder"],
    ]
    for (const [args, message] of cases) expectUsageError(await quantize(...args), "gemlet quantize", message)
    expect(existsSync(place.path("x"))).toBe(false)
  })
})
