import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { answerSeed } from "../../src/index.ts"
import { fixture } from "../helpers/golden.ts"
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
  test("gives each what it gives alone, in the order of the file", async () => {
    const path = file("five.txt", `${PROMPTS.slice(0, 2).join("\n")}\r\n\n  \n${PROMPTS.slice(2).join("\n")}\n`)
    const result = await generate("--prompts", path, "--seed", "7", "-t", "1", "-n", "12", "--parallel", "3", "--stats")
    expect(result.code, result.stderr).toBe(0)
    const answers = lines(result)
    for (const [i, answer] of answers.entries()) {
      expectDocumented("generate", answer)
      expect(answer).toMatchObject({ index: i, prompt: PROMPTS[i], seed: answerSeed(7, i), finishReason: "length" })
    }
    expect(answers.length).toBe(PROMPTS.length)
    expect(result.stderr).toMatch(/^5 prompts, 60 tokens at [\d.]+ per second, 3 at once$/m)
    const some = [0, 4].map(async (i) => {
      const args = [PROMPTS[i]!, "--seed", String(answerSeed(7, i)), "-t", "1", "-n", "12", "--json"]
      expect(answers[i].tokens).toEqual(json(await generate(...args)).tokens)
    })
    await Promise.all(some)
  })

  test("reads texts, ids and messages of a .jsonl file, and texts from stdin", async () => {
    const messages = [{ role: "user", content: "Tell me a story about Lily." }]
    const objects = [{ prompt: "One day" }, { prompt: [2, 513, 528] }, { messages }]
    const path = file("mixed.jsonl", objects.map((each) => `${JSON.stringify(each)}\n`).join(""))
    const args = ["generate", ...DEVICE, "--greedy", "-n", "5", "--logprobs", "1"]
    const [mixed, piped, chat] = await Promise.all([
      gemlet([...args, "--prompts", path]),
      gemlet([...args, "--prompts", "-"], { input: "One day\nOne day\n" }),
      gemlet(["chat", ...DEVICE, "--greedy", "-n", "5", "--json"], { input: `${messages[0]!.content}\n` }),
    ])
    const answers = lines(mixed)
    for (const answer of answers) expectDocumented("generate", answer)
    expect(answers.map(({ prompt, messages }) => ({ prompt, messages }))).toEqual(objects)
    expect(answers[2].tokens).toEqual(json(chat).tokens)
    expect(answers[2].logprobs.map(({ token }: { token: number }) => token)).toEqual(answers[2].tokens)
    expect(lines(piped).map(({ tokens }) => tokens)).toEqual([answers[0].tokens, answers[0].tokens])
  })

  test("prints what is whole at Ctrl-C, and no other", async () => {
    // The second answer is held back behind the first, which goes on until it is stopped.
    const path = file("endless.jsonl", '{"prompt": [400]}\n{"prompt": "One day"}\n{"prompt": "The fox"}\n'.repeat(2))
    const endless = ["--overflow", "shift", "--stop", "Lily", "--stop", ".", "--context", "64"]
    const model = ["--model", fixture("stories260K")]
    const running = start(["generate", ...DEVICE, ...model, ...endless, "--greedy", "--prompts", path])
    await running.until(({ stdout }) => stdout.includes("\n"))
    running.interrupt()
    const { code, stdout } = await running.result
    expect([0, 130]).toContain(code)
    for (const { text, finishReason } of lines({ stdout })) expect([text !== "", finishReason]).toEqual([true, "stop"])
  })

  test("names the file and line of what is wrong before it answers anything", async () => {
    const wrong: [name: string, text: string, ...expected: string[]][] = [
      ["cut.jsonl", '{"prompt": "a"}\n\n{"prompt": \n', "cut.jsonl:3: text is malformed, expected JSON"],
      ["other.jsonl", '{"text": "a"}\n', 'other.jsonl:1: value is "{\\"text', 'expected { "prompt": "text" } or'],
      ["both.jsonl", '{"prompt": "a", "messages": []}\n', "both.jsonl:1: prompt is there beside messages"],
      ["none.jsonl", '{"messages": [{"role": "user"}]}\n', "none.jsonl:1: value is "],
      ["null.jsonl", "null\n", "null.jsonl:1: value is "],
      ["empty.txt", "\n \n", "empty.txt: has no prompt, expected one a line"],
      ["blank.jsonl", '{"prompt": "a"}\n{"prompt": ""}\n', "blank.jsonl:2: is empty, expected at least one token"],
      ["ids.jsonl", '{"prompt": [2, 4096]}\n', "ids.jsonl:1: id 4096 is outside the vocabulary"],
      ["long.txt", `a\n${"long ".repeat(70)}\n`, "long.txt:2: ", "expected at most the context of 64"],
    ]
    await Promise.all(
      wrong.map(async ([name, text, ...expected]) => {
        const result = await generate("--context", "64", "-n", "4", "--prompts", file(name, text))
        expectUsageError(result, "gemlet generate", ...expected)
      }),
    )
  })

  test("refuses what does not go with it", async () => {
    const path = file("one.txt", "a\n")
    const schema = file("bad.json", '{ "type": "array", "uniqueItems": true }')
    const wrong: [args: string[], text: string][] = [
      [["a", "--prompts", path], "given by a text and --prompts, expected one of them"],
      [["a", "--parallel", "2"], "--parallel: --prompts is missing"],
      [["--prompts", path, "--echo"], "cannot be used with option '--echo'"],
      [["--prompts", path, "--parallel", "65"], "expected a whole number from 1 to 64"],
      [["--prompts", join(folder, "nowhere.txt")], "no such file"],
      [["--prompts", path, "--schema", schema], 'generate: schema #: keyword is "uniqueItems"'],
    ]
    await Promise.all(
      wrong.map(async ([args, text]) => expectUsageError(await generate(...args), "gemlet generate", text)),
    )
  })
})
