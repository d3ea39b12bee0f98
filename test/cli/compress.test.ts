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

  test("compress refuses no rank, two rules, wrong values, a folder in use and what would not be smaller", async () => {
    const out = ["--out", place.path("x")]
    const refused = async (args: string[], ...texts: string[]) =>
      expectUsageError(await compress(...args), "gemlet compress", ...texts)
    await refused(out, "--rank: is missing, expected it or --energy")
    await refused(["--rank", "4", "--energy", "0.5", ...out], "--rank: is given with --energy, expected one of them")
    await refused(
      ["--rank", "6", ...out],
      '--rank: value is "6", expected a share below 1 such as 0.25 or a multiple of 4',
    )
    await refused(["--energy", "2", ...out], '--energy: value is "2"')
    await refused(["--method", "qr", ...out], '--method: value is "qr", expected one of svd')
    await refused(["--rank", "4"], "--out: is missing")
    await refused(["--rank", "4", "--out", place.model, "--force"], "is read from, expected another folder")
    await refused(["--rank", "4", "--out", place.home], "is in use", "--force writes into it")
    await refused(["--rank", "400", ...out], "expected one that makes a dense layer", "smaller")
    await refused(["--rank", "4", "--modules", "lm_head", ...out], "is in no module")
    await refused(["--rank", "4", "--evaluate", place.path("none.txt"), ...out], "no such file")
    expect(existsSync(place.path("x"))).toBe(false)
  })
})
