import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { fixture } from "../helpers/golden.ts"
import { expectDocumented } from "./documented.ts"
import { DEVICE, expectUsageError, gemlet, json, start } from "./run.ts"

const LILY = "Tell me a story about Lily."
let folder = ""
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gemlet-chat-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function chat(lines: readonly string[], ...args: string[]) {
  return gemlet(["chat", ...DEVICE, "--seed", "1", "-n", "8", ...args], { input: `${lines.join("\n")}\n` })
}

function saved(name: string) {
  return JSON.parse(readFileSync(join(folder, name), "utf8"))
}

describe("chat", () => {
  test("chat answers piped lines, forgets at /reset and writes at /save", async () => {
    const save = (name: string) => `/save ${join(folder, name)}`
    const lines = [
      LILY,
      save("one.json"),
      "",
      "More!",
      save("two.json"),
      "/reset",
      LILY,
      save("again.json"),
      "/quit",
      LILY,
    ]
    const { code, stdout, stderr } = await chat(lines)
    expect(code, stderr).toBe(0)
    expect(stdout.trim().split("\n").length).toBe(3)
    const [one, two] = [saved("one.json"), saved("two.json")]
    expect(one).toMatchObject([{ role: "user", content: LILY }, { role: "assistant" }])
    expect(two.slice(0, 2)).toEqual(one)
    expect(two[2]).toEqual({ role: "user", content: "More!" })
    expect(saved("again.json")).toEqual(one)
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([])
  })

  test("chat goes on with a conversation that was saved", async () => {
    const path = join(folder, "begun.json")
    const begun = [
      { role: "user", content: LILY },
      { role: "assistant", content: "Lily had a dog." },
    ]
    writeFileSync(path, JSON.stringify(begun))
    await chat([`/load ${path}`, "More!", `/save ${join(folder, "gone-on.json")}`])
    expect(saved("gone-on.json").slice(0, 3)).toEqual([...begun, { role: "user", content: "More!" }])
  })

  test("chat --json prints one documented object", async () => {
    const answer = json(await chat([LILY, "More!"], "--json"))
    expectDocumented("chat", answer)
    expect(answer.messages.map(({ role }: { role: string }) => role)).toEqual([
      "user",
      "assistant",
      "user",
      "assistant",
    ])
    expect(answer.messages[3].content).toBe(answer.text)
  })

  test("chat --messages answers a last message of the user", async () => {
    const path = join(folder, "question.json")
    writeFileSync(path, JSON.stringify([{ role: "user", content: LILY }]))
    const [answer, piped] = await Promise.all([
      chat([], "--messages", path, "--json").then(json),
      chat([LILY], "--json").then(json),
    ])
    expect(answer.messages).toEqual(piped.messages)
    expect(answer.messages.length).toBe(2)
  })

  test("chat takes control tokens that a user types as text", async () => {
    const [plain, typed] = await Promise.all([
      chat(["Hello"], "--json").then(json),
      chat(["Hello<end_of_turn>"], "--json").then(json),
    ])
    expect(typed.messages[0].content).toBe("Hello<end_of_turn>")
    expect(typed.promptTokens).toBeGreaterThan(plain.promptTokens + 1) // one more would be the control token
  })

  test("chat goes on after an error, and after Ctrl-C stops an answer; another Ctrl-C leaves", async () => {
    const path = join(folder, "stopped.json")
    const running = start(["chat", ...DEVICE, "--seed", "1", "--ignore-eos", "--overflow", "shift"])
    running.say("/bogus")
    await running.until(({ stderr }) => stderr.includes("/bogus: no such command"))
    running.say(LILY)
    await running.until(({ stdout }) => stdout.length > 20)
    running.interrupt()
    await running.until(({ stderr }) => stderr.includes("(stopped)"))
    running.say(`/save ${path}`)
    await running.until(({ stderr }) => stderr.includes("written to"))
    const [question, answer] = saved("stopped.json")
    expect(question).toEqual({ role: "user", content: LILY })
    expect(running.stdout).toBe(`${answer.content}\n`)
    running.say("More!")
    const before = running.stdout.length
    await running.until(({ stdout }) => stdout.length > before + 20)
    running.interrupt()
    await running.until(({ stderr }) => stderr.split("(stopped)").length === 3)
    running.interrupt()
    const { code } = await running.result
    expect(code).toBe(130)
  })

  test("chat says when the context is full, or with --overflow shift forgets the oldest turns", async () => {
    const lines = [LILY, LILY, LILY]
    const [full, shifted] = await Promise.all([
      chat(lines, "--context", "32", "--ignore-eos", "-n", "40"),
      chat(lines, "--context", "32", "--overflow", "shift", "--json").then(json),
    ])
    expect(full.code).toBe(0)
    expect(full.stderr).toContain("(the context is full; /reset begins anew")
    expect(full.stderr).toMatch(/the conversation has \d+ tokens, expected fewer than 32/)
    expect(shifted.messages.length).toBe(6)
    expect(shifted.promptTokens).toBeLessThan(32)
  })

  test("chat refuses a model without a chat template, and messages that are none", async () => {
    const plain = await gemlet(["chat", ...DEVICE, "--model", fixture("stories260K")])
    expectUsageError(plain, "gemlet chat", "the chat template is missing")
    const path = join(folder, "wrong.json")
    writeFileSync(path, '{"role": "user"}')
    const wrong = await gemlet(["chat", ...DEVICE, "--messages", path])
    expectUsageError(wrong, "gemlet chat", "wrong.json: ", `expected [{ "role": "user", "content": "Hello" }, ...]`)
    expectUsageError(await chat([], "--json"), "gemlet chat", "message is missing")
  })
})
