import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { readPrompts } from "../../cli/prompts.ts"

let folder = ""
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gemlet-prompts-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function read(name: string, text: string) {
  const path = join(folder, name)
  writeFileSync(path, text)
  return readPrompts(path)
}

describe("readPrompts", () => {
  test("reads a text a line as it is, without empty lines and line ends", async () => {
    const prompts = await read("texts.txt", '\ufeffOne day\r\n\n \t\n  {"prompt": 1} \nThe fox')
    expect(prompts.map(({ prompt, where }) => [prompt, where.replace(/^.*texts/, "texts")])).toEqual([
      ["One day", "texts.txt:1"],
      ['  {"prompt": 1} ', "texts.txt:4"],
      ["The fox", "texts.txt:5"],
    ])
  })

  test("reads texts, ids and conversations of .jsonl", async () => {
    const messages = [{ role: "user", content: "Hello" }]
    const objects = [{ prompt: "", id: 7 }, { prompt: [1, 2] }, { messages }]
    const prompts = await read("some.JSONL", objects.map((each) => JSON.stringify(each)).join("\n\n"))
    expect(prompts.map(({ prompt }) => prompt)).toEqual(["", [1, 2], messages])
  })

  test.each([
    ["cut.jsonl", '{"prompt": "a"}\n\n{"prompt": \n', /cut\.jsonl:3: text is malformed, expected JSON \(/],
    ["other.jsonl", '{"text": "a"}', /other\.jsonl:1: value is "{.*", expected { "prompt": "text" } or {/],
    ["both.jsonl", '{"prompt": "a", "messages": []}', /both\.jsonl:1: prompt is there beside messages, expected one/],
    ["none.jsonl", '{"messages": [{"role": "user"}]}', /none\.jsonl:1: value is /],
    ["number.jsonl", '{"prompt": [1, "a"]}', /number\.jsonl:1: value is /],
    ["null.jsonl", "null", /null\.jsonl:1: value is "null", expected/],
    ["empty.txt", "\n \n", /empty\.txt: has no prompt, expected one a line/],
  ])("refuses %s by file and line", async (name, text, message) => {
    await expect(read(name, text)).rejects.toThrow(message)
  })

  test("refuses a file that is missing", async () => {
    await expect(readPrompts(join(folder, "nowhere.txt"))).rejects.toThrow(/no such file, expected a text file/)
  })
})
