import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { answerSeed } from "../../src/index.ts"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json, type Result, start } from "./run.ts"

let folder = ""
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gemlet-prompts-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

function generate(...args: string[]) {
  return gemlet(["generate", ...DEVICE, ...args])
}

/** The objects on stdout. */
function lines({ stdout }: Pick<Result, "stdout">): ReturnType<typeof JSON.parse>[] {
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
}

const PROMPTS = ["Once upon a time", "One day", "The fox", "Lily and Tom", "A little"]

describe("generate --prompts", () => {
  test("gives each line of stdin what it gives alone, in their order", async () => {
    const input = `${PROMPTS.slice(0, 2).join("\n")}\r\n\n  \n${PROMPTS.slice(2).join("\n")}\n`
    const sampling = ["-t", "1", "-n", "12"]
    const flags = ["--prompts", "-", "--parallel", "3", "--stats", "--seed", "7", ...sampling]
    const [result, last] = await Promise.all([
      gemlet(["generate", ...DEVICE, ...flags], { input }),
      generate(PROMPTS[4]!, "--seed", String(answerSeed(7, 4)), ...sampling, "--json"),
    ])
    expect(result.code, result.stderr).toBe(0)
    const answers = lines(result)
    for (const [i, answer] of answers.entries()) {
      expectDocumented("generate", answer)
      expect(answer).toMatchObject({ index: i, prompt: PROMPTS[i], seed: answerSeed(7, i), finishReason: "length" })
    }
    expect(answers.length).toBe(PROMPTS.length)
    expect(result.stderr).toMatch(/^5 prompts, 60 tokens at [\d.]+ per second, 3 at once$/m)
    expect(answers[4].tokens).toEqual(json(last).tokens)
  })

  test("reads texts, ids and messages of a .jsonl file", async () => {
    const messages = [{ role: "user", content: "Tell me a story about Lily." }]
    const objects = [{ prompt: "One day" }, { prompt: [2, 513, 528] }, { messages }]
    const path = file("mixed.jsonl", objects.map((each) => `${JSON.stringify(each)}\n`).join(""))
    const args = ["generate", ...DEVICE, "--greedy", "-n", "5", "--logprobs", "1"]
    const [mixed, chat] = await Promise.all([
      gemlet([...args, "--prompts", path]),
      gemlet(["chat", ...DEVICE, "--greedy", "-n", "5", "--json"], { input: `${messages[0]!.content}\n` }),
    ])
    const answers = lines(mixed)
    for (const answer of answers) expectDocumented("generate", answer)
    expect(answers.map(({ prompt, messages }) => ({ prompt, messages }))).toEqual(objects)
    expect(answers[2].tokens).toEqual(json(chat).tokens)
    expect(answers[2].logprobs.map(({ token }: { token: number }) => token)).toEqual(answers[2].tokens)
  })

  test("prints what is whole at Ctrl-C, also what was held back, and no other", async () => {
    // An answer ends where the context does: behind a long prompt soon, behind a short one not for seconds.
    const long = `${JSON.stringify({ prompt: [2, ...new Array(509).fill(300)] })}\n`
    const path = file("lengths.jsonl", `${long}{"prompt": "One day"}\n${long.repeat(300)}`)
    const flags = ["--context", "512", "--ignore-eos", "--greedy", "--parallel", "2"]
    const running = start(["generate", ...DEVICE, ...flags, "--prompts", path])
    await running.until(({ stdout }) => stdout.includes("\n"))
    await new Promise((resolve) => setTimeout(resolve, 1000))
    running.interrupt()
    const { code, stdout } = await running.result
    const answers = lines({ stdout })
    expect(code).toBe(130)
    for (const { promptTokens, tokens, finishReason } of answers) {
      expect([promptTokens, tokens.length, finishReason]).toEqual([510, 2, "length"])
    }
    const expected = answers.map((_, i) => (i === 0 ? 0 : i + 1)) // all but the one underway
    expect(answers.map(({ index }) => index)).toEqual(expected)
    expect(answers.length).toBeGreaterThan(1)
  })

  test("names the file and line of a prompt that cannot be answered, before it answers anything", async () => {
    const ids = file("ids.jsonl", '{"prompt": [2]}\n{"prompt": [2, 4096]}\n')
    const long = file("long.txt", `a\n\n${"long ".repeat(70)}\n`)
    const [outside, full] = await Promise.all([
      generate("--prompts", ids, "-n", "4"),
      generate("--prompts", long, "-n", "4", "--context", "64"),
    ])
    expectUsageError(outside, "gemlet generate", "ids.jsonl:2: id 4096 is outside the vocabulary")
    expectUsageError(full, "gemlet generate", "long.txt:3: ", "expected at most the context of 64")
  })

  test("refuses what does not go with it", async () => {
    const path = file("one.txt", "a\n")
    const schema = file("bad.json", '{ "type": "array", "uniqueItems": true }')
    const wrong: [args: string[], text: string][] = [
      [["a", "--prompts", path], "given by a text and --prompts, expected one of them"],
      [["a", "--parallel", "2"], "--parallel: --prompts is missing"],
      [["--prompts", path, "--echo"], "cannot be used with option '--echo'"],
      [["--prompts", path, "--schema", schema], 'generate: schema #: keyword is "uniqueItems"'],
    ]
    await Promise.all(
      wrong.map(async ([args, text]) => expectUsageError(await generate(...args), "gemlet generate", text)),
    )
  })
})
