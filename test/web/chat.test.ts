import { execFile } from "node:child_process"
import { readFile, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { describe, expect, test } from "vitest"
import { answers, answersShown, eventually, greedy, ready, say, usePage, type Visit } from "./chromium.ts"
import { importable, stored, storedTurns } from "./stored.ts"

const ASKED = "Tell me a story about Lily."
const TOKENS = 32

const open = usePage()

/** A visit with the storyteller loaded. */
async function arrive(): Promise<Visit> {
  const arrived = await open()
  await ready(arrived.page)
  return arrived
}

async function cli(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", "cli/main.ts", ...args])
  return stdout
}

describe("chat", () => {
  test("the storyteller's greedy answer is the command line's", async () => {
    const { page, errors } = await arrive()
    await greedy(page, TOKENS)
    await say(page, ASKED)
    await answers(page)
    const file = join(tmpdir(), `gemlet-web-${process.pid}.json`)
    await writeFile(file, JSON.stringify([{ role: "user", content: ASKED }]))
    const printed = await cli("chat", "--messages", file, "--json", "--greedy", "-n", String(TOKENS))
    const { messages } = JSON.parse(printed) as { messages: { content: string }[] }
    expect(await storedTurns(page)).toEqual(messages.map(({ content }) => content))
    expect(errors).toEqual([])
  })

  test("plain text goes on as the command line's", async () => {
    const { page } = await arrive()
    await greedy(page, TOKENS, "text")
    await say(page, "Once upon a time")
    await answers(page)
    const printed = await cli("generate", "Once upon a time", "--json", "--greedy", "-n", String(TOKENS))
    expect((await storedTurns(page))[1]).toBe((JSON.parse(printed) as { text: string }).text)
  })

  test("an answer comes in pieces, and Escape stops it", async () => {
    const { page } = await arrive()
    await greedy(page, 1500)
    await say(page, ASKED)
    const live = page.locator(".turn.live .markdown")
    await eventually(async () => (await live.innerText()).length).toBeGreaterThan(20)
    const before = (await live.innerText()).length
    await eventually(async () => (await live.innerText()).length).toBeGreaterThan(before)
    await page.keyboard.press("Escape")
    await answers(page)
    const [conversation] = await stored(page)
    expect(conversation?.turns[1]?.facts?.ending).toBe("stopped")
    expect(conversation?.turns[1]?.text.length).toBeGreaterThan(before)
  })

  test("answers anew, edits a turn, goes on, and has all of it after a reload", async () => {
    const { page, errors } = await arrive()
    await greedy(page, 12)
    await say(page, ASKED)
    const [first] = await answers(page)
    await page.getByRole("button", { name: "Answer anew", exact: true }).click()
    expect(await answers(page)).toEqual([first]) // greedy: the same again
    await say(page, "Tell me more.")
    expect(await answers(page)).toHaveLength(2)
    const [conversation] = await stored(page)
    expect(conversation!.turns[3]!.facts!.reusedTokens).toBeGreaterThan(10) // only what is new went through
    await page.getByRole("button", { name: "Edit, and answer anew" }).first().click()
    await page.getByLabel("Your turn").fill("Tell me a story about Tom.")
    await page.keyboard.press("Enter")
    const edited = await answers(page)
    expect(edited).toHaveLength(1)
    expect(edited[0]).not.toBe(first)
    await page.reload()
    await eventually(() => answersShown(page)).toEqual(edited)
    await eventually(() => page.locator(".said").innerText()).toBe("Tell me a story about Tom.")
    await ready(page)
    await say(page, "And then?")
    expect(await answers(page)).toHaveLength(2)
    expect(errors).toEqual([])
  })

  test("what is typed and not sent stays while other views are looked at", async () => {
    const { page } = await open()
    await page.locator(".composer textarea").fill("half a thou")
    await page.getByRole("link", { name: "Models" }).click()
    await page.getByRole("heading", { name: "Another model" }).waitFor()
    await page.goBack()
    expect(await page.locator(".composer textarea").inputValue()).toBe("half a thou")
  })

  test("a window is closed before the next key comes, though no frame is drawn", async () => {
    const { page } = await arrive()
    await page.getByRole("button", { name: "System text and sampling" }).click()
    const after = await page.evaluate(async () => {
      globalThis.requestAnimationFrame = () => 0
      document.querySelector<HTMLElement>("dialog[open] button[aria-label=Close]")!.click()
      await new Promise((resolve) => setTimeout(resolve))
      document.querySelector<HTMLElement>(".composer textarea")!.focus()
      await new Promise((resolve) => setTimeout(resolve, 300))
      return [document.querySelectorAll("dialog[open]").length, document.activeElement!.tagName]
    })
    expect(after).toEqual([0, "TEXTAREA"])
  })

  test("system text is part of what is asked", async () => {
    const { page } = await arrive()
    await greedy(page, 8)
    await say(page, ASKED)
    await answers(page)
    const [without] = await stored(page)
    await page.getByRole("button", { name: "System text and sampling" }).click()
    await page.getByLabel("System text", { exact: false }).last().fill("Write about a dog.")
    await page.keyboard.press("Escape")
    await page.getByRole("button", { name: "Answer anew", exact: true }).click()
    await answers(page)
    const [told] = await stored(page)
    expect(told!.turns[1]!.facts!.promptTokens).toBeGreaterThan(without!.turns[1]!.facts!.promptTokens)
    expect(told!.system).toBe("Write about a dog.")
  })
})

describe("conversations", () => {
  test("are found, renamed, exported, deleted and imported", async () => {
    const { page, errors } = await open()
    const list = page.locator(".conversations li")
    const input = page.locator('input[accept*="json"]')
    await input.setInputFiles(importable(["a red apple", "a green pear", "a red plum"]))
    await eventually(() => list.count()).toBe(3)
    await page.evaluate(() => (document.activeElement as HTMLElement).blur())
    await page.keyboard.press("/")
    await page.keyboard.type("RED a")
    await eventually(() => list.allInnerTexts()).toEqual(["Case 0", "Case 2"])
    await page.locator("#search").fill("")
    await page.getByText("Case 1").click()
    await page.getByRole("button", { name: "Rename Case 1" }).click()
    await page.getByLabel("Title").fill("Pears")
    await page.keyboard.press("Enter")
    await eventually(() => list.allInnerTexts()).toContain("Pears")
    const downloading = page.waitForEvent("download")
    await page.getByRole("button", { name: "Export all" }).click()
    const exported = await readFile(await (await downloading).path(), "utf8")
    page.on("dialog", (dialog) => void dialog.accept())
    await page.getByRole("button", { name: "Delete Pears" }).click()
    await eventually(() => list.count()).toBe(2)
    expect((await stored(page)).map(({ title }) => title)).not.toContain("Pears")
    await input.setInputFiles({ name: "all.json", mimeType: "application/json", buffer: Buffer.from(exported) })
    await eventually(() => list.allInnerTexts()).toEqual(expect.arrayContaining(["Case 0", "Pears", "Case 2"]))
    expect(await list.count()).toBe(3) // those that were here are not there twice
    expect(errors).toEqual([])
  })

  test("of a file that is something else are refused in words, all of them", async () => {
    const { page, errors } = await open()
    const good = JSON.parse(importable(["fine"]).buffer.toString())
    const broken = { ...good, conversations: [...good.conversations, { id: "x", title: 7 }] }
    for (const text of ["", "[]", JSON.stringify(broken)]) {
      const file = { name: "bad.json", mimeType: "application/json", buffer: Buffer.from(text) }
      await page.locator('input[accept*="json"]').setInputFiles(file)
      await page
        .getByRole("alert")
        .getByText(/import: .* expected/)
        .waitFor()
      await page.getByRole("button", { name: "Close the message" }).click()
    }
    expect(await stored(page)).toEqual([])
    expect(errors).toEqual([])
  })
})
