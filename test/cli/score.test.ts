import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { fixture } from "../helpers/golden.ts"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json } from "./run.ts"

const { prompts } = JSON.parse(readFileSync(fixture("storyteller/golden.json"), "utf8"))

function score(...args: string[]) {
  return gemlet(["score", ...DEVICE, ...args])
}

describe("score", () => {
  test("score --json gives the reference's loss in one documented object", async () => {
    const result = json(await score("Once upon a time", "--json"))
    expectDocumented("score", result)
    expect(result.tokens).toEqual(prompts[0].ids)
    expect(result.logProbs.length).toBe(4)
    expect(Math.abs(result.loss - prompts[0].nll_mean)).toBeLessThan(1e-4)
    expect(result.perplexity).toBeCloseTo(Math.exp(result.loss), 6)
    expect(result.bytes).toBe(16)
    expect(result.bitsPerByte).toBeCloseTo((result.loss * 4) / Math.LN2 / 16, 6)
  })

  test("score --ids gives the reference's loss of ids", async () => {
    const { loss } = json(await score("--ids", prompts[2].ids.join(","), "--json"))
    expect(Math.abs(loss - prompts[2].nll_mean)).toBeLessThan(1e-4)
  })

  test("score --cache-dtype q8 keeps keys and values in eight bits, and the loss is near", async () => {
    const args = ["--ids", prompts[2].ids.join(","), "--json"]
    const { loss } = json(await score("--cache-dtype", "q8", ...args))
    expect(Math.abs(loss - prompts[2].nll_mean)).toBeLessThan(0.02)
    expect(loss).not.toBe(json(await score(...args)).loss)
    expectUsageError(await score("--cache-dtype", "q4", "Once"), "gemlet score", "--cache-dtype")
  })

  test("score --tokens lists every token", async () => {
    const { stdout } = await score("Once upon a time", "--tokens")
    expect(stdout).toMatch(/^position +id +log-prob +token\n +0 +2 +given +"<bos>"\n +1 +513 +-1\.768\d +"Once"$/m)
    expect(stdout).toMatch(/^tokens +5, 4 of them scored\nloss +0\.4563 nats per token\nperplexity +1\.578$/m)
  })

  test("score refuses a text longer than the context, one too short and a file that is missing", async () => {
    expectUsageError(
      await score("--context", "4", "Once upon a time"),
      "gemlet score",
      "5 tokens, expected at most the context of 4",
    )
    expectUsageError(await score("--ids", "2"), "gemlet score", "has 1 token, expected at least 2")
    expectUsageError(await score("--file", "./nowhere.txt"), "gemlet score", "./nowhere.txt: no such file")
  })
})
