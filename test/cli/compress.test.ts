import { existsSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json } from "./run.ts"
import { expectSuccess, Workplace } from "./training.ts"

describe("compress", () => {
  let place: Workplace
  beforeAll(async () => {
    place = await Workplace.make()
  })
  afterAll(() => place.remove())

  function compress(...args: string[]) {
    return gemlet(["compress", "--model", place.model, ...args])
  }

  test("compress writes a smaller checkpoint that answers, and tells what that costs", async () => {
    const out = place.path("small")
    const story = place.write("story.txt", "Once there was a cat who liked to run. The end.\n".repeat(20))
    const args = ["--rank", "0.25", "--evaluate", story, "--context", "64", ...DEVICE, "--out", out, "--json"]
    const result = json(await compress(...args))
    expectDocumented("compress", result)
    expect(result).toMatchObject({ model: place.model, out, rule: { fraction: 0.25, absolute: null, energy: null } })
    expect(result.layers.length).toBe(14)
    for (const { rank } of result.layers) expect([4, 8]).toContain(rank)
    const before = place.read("base", "model.safetensors").byteLength
    const after = place.read("small", "model.safetensors").byteLength
    expect(Math.abs(result.bytesBefore - result.bytesAfter - (before - after))).toBeLessThan(4096) // their headers
    expect(result.perplexity.before).toBeGreaterThan(1)
    expect(result.perplexity.after).toBeGreaterThan(1)
    expect(result.perplexity.after).not.toBe(result.perplexity.before)
    const scored = json(await gemlet(["score", "--model", place.model, ...DEVICE, "--json", "Once there was a cat."]))
    const args2 = ["score", "--model", out, ...DEVICE, "--json", "Once there was a cat."]
    expect(json(await gemlet(args2)).tokens).toEqual(scored.tokens)
  })

  test("compress prints a row per layer and the totals, and needs no device for it", async () => {
    const out = place.path("shown")
    const stdout = expectSuccess(await compress("--energy", "0.5", "--modules", "q_proj,gate_proj", "--out", out))
    const lines = stdout.trimEnd().split("\n")
    expect(lines[0]).toMatch(/^layer +shape +rank +error +size$/)
    expect(lines[1]).toMatch(/^model\.layers\.0\.self_attn\.q_proj +32 x 32 +(\d+ +0\.\d{4}|dense +0\.0000) /)
    expect(lines[2]).toMatch(/^model\.layers\.0\.mlp\.gate_proj +48 x 32 +/)
    expect(stdout).toMatch(/^bytes +\d.* instead of \d/m)
    expect(stdout).toMatch(/^perplexity +not measured; --evaluate FILE does$/m)
    expect(stdout).toContain(`gemlet generate --model ${out}`)
  })

  test("compress --calibrate keeps more of the outputs, and measures on the first lines of that file", async () => {
    const texts = place.write("texts.txt", "Once there was a dog who liked to sing. The end.\n".repeat(40))
    const args = ["--rank", "8", "--context", "64", ...DEVICE, "--json", "--out"]
    const [plain, calibrated] = await Promise.all([
      compress("--evaluate", texts, ...args, place.path("plain")),
      compress("--calibrate", texts, ...args, place.path("calibrated")),
    ])
    const result = json(calibrated)
    expectDocumented("compress", result)
    for (const [i, { path, error, outputError }] of json(plain).layers.entries()) {
      expect(result.layers[i].path).toBe(path)
      expect(outputError).toBeUndefined()
      expect(result.layers[i].error).toBeGreaterThan(error)
      expect(result.layers[i].outputError).toBeLessThan(result.layers[i].error)
    }
    expect(result.perplexity.after).toBeGreaterThan(1)
    const shown = ["--rank", "8", "--calibrate", texts, "--modules", "up_proj", ...DEVICE, "--out", place.path("table")]
    expect(expectSuccess(await compress(...shown))).toMatch(/^layer +shape +rank +error +of outputs +size$/m)
  })

  test("compress refuses no rank, two rules, wrong values, a folder in use and what would not be smaller", async () => {
    const out = ["--out", place.path("x")]
    const empty = place.write("empty.txt", "")
    const cases: [string[], ...string[]][] = [
      [out, "--rank: is missing, expected it or --energy"],
      [["--rank", "4", "--energy", "0.5", ...out], "--rank: is given with --energy, expected one of them"],
      [["--rank", "6", ...out], '--rank: value is "6", expected a share below 1 such as 0.25 or a multiple of 4'],
      [["--energy", "2", ...out], '--energy: value is "2"'],
      [["--method", "qr", ...out], '--method: value is "qr", expected one of svd'],
      [["--rank", "4"], "--out: is missing"],
      [["--rank", "4", "--out", place.model, "--force"], "is read from, expected another folder"],
      [["--rank", "4", "--out", place.home], "is in use", "--force writes into it"],
      [["--rank", "400", ...out], "expected one that makes a dense layer", "smaller"],
      [["--rank", "4", "--modules", "lm_head", ...out], "is in no module"],
      [["--rank", "4", "--evaluate", place.path("none.txt"), ...out], "no such file"],
      [["--rank", "4", "--calibrate", empty, ...out], "--calibrate: text is empty, expected some"],
    ]
    await Promise.all(
      cases.map(async ([args, ...texts]) => expectUsageError(await compress(...args), "gemlet compress", ...texts)),
    )
    expect(existsSync(place.path("x"))).toBe(false)
  })
})
