import { readFile } from "node:fs/promises"
import { unzipSync, zipSync } from "fflate"
import type { Page } from "playwright-core"
import { beforeAll, describe, expect, test } from "vitest"
import { type Folder, load, memoryFolder, memoryStore, merge } from "../../src/index.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { overflow, violations } from "./axe.ts"
import { answers, greedy, ready, say, usePage, type Visit } from "./chromium.ts"
import { CONFIG, keptFiles, madeUp, trainOn, WEIGHTS } from "./made_adapter.ts"
import { stored } from "./stored.ts"

const ASKED = "Tell me a story about Lily."
const TOKENS = 24

const open = usePage()
let files: Record<string, Uint8Array>
/** The same adapter trained on, as it were. */
let later: Record<string, Uint8Array>
let expected: { readonly base: string; readonly adapted: string; readonly later: string }
beforeAll(async () => {
  files = await madeUp(192)
  later = await madeUp(192, 1.9)
  const lm = await load(undefined, { device: testDeviceKind(), context: 256 })
  const base = await greedyText(lm)
  const texts: string[] = []
  for (const [name, each] of Object.entries({ files, later })) {
    await lm.setAdapters([])
    await lm.loadAdapter(folderOf(each), { name })
    texts.push(await greedyText(lm))
  }
  await lm.dispose()
  expected = { base, adapted: texts[0]!, later: texts[1]! }
  expect(new Set(Object.values(expected)).size).toBe(3)
})

function folderOf(named: Record<string, Uint8Array>): Folder {
  return memoryFolder("adapter", new Map(Object.entries(named)))
}

async function greedyText(lm: Awaited<ReturnType<typeof load>>): Promise<string> {
  const messages = [{ role: "user" as const, content: ASKED }]
  let text = ""
  for await (const piece of lm.generate(messages, { temperature: 0, maxTokens: TOKENS })) text += piece.text
  return text
}

function zipOf(named: Record<string, Uint8Array>, folder = ""): { name: string; mimeType: string; buffer: Buffer } {
  const inFolder = Object.fromEntries(Object.entries(named).map(([name, bytes]) => [folder + name, bytes]))
  return { name: "pirate.zip", mimeType: "application/zip", buffer: Buffer.from(zipSync(inFolder)) }
}

/** A visit to the adapters, with the storyteller loaded. */
async function arrive(options: Parameters<typeof open>[0] = {}): Promise<Visit> {
  const arrived = await open(options)
  const { page } = arrived
  await ready(page)
  page.on("dialog", (dialog) => void dialog.accept())
  await greedy(page, TOKENS)
  await toAdapters(page)
  return arrived
}

async function toAdapters(page: Page): Promise<void> {
  await page.evaluate(() => {
    location.hash = "#/adapters"
  })
  await page.getByRole("heading", { name: "Bring one" }).waitFor()
}

async function bring(page: Page, file: ReturnType<typeof zipOf>): Promise<void> {
  await page.getByLabel("An adapter's zip or files").setInputFiles(file)
}

async function bringPirate(page: Page): Promise<void> {
  await bring(page, zipOf(files, "pirate/"))
  await page.getByRole("heading", { name: "pirate", exact: true }).waitFor()
}

/** The text of the last answer, as the model wrote it. */
async function lastAnswer(page: Page): Promise<string> {
  await answers(page)
  const [latest] = (await stored(page)).sort((a, b) => b.updated - a.updated)
  return latest!.turns.at(-1)!.text
}

/** Presses a button that gives a file, and reads that. */
async function download(page: Page, button: string): Promise<{ name: string; files: Record<string, Uint8Array> }> {
  const downloading = page.waitForEvent("download")
  await page.getByRole("button", { name: button }).click()
  const got = await downloading
  return { name: got.suggestedFilename(), files: unzipSync(await readFile(await got.path())) }
}

describe("an adapter that was brought", () => {
  test("is chosen for each conversation, answers as in Node, leaves the base as it was, and is missed when it is deleted", async () => {
    const { page, errors } = await arrive()
    await bringPirate(page)
    await page.getByLabel("Name").fill("Captain")
    await page.keyboard.press("Enter")
    await page.getByRole("heading", { name: "Captain", exact: true }).waitFor()
    await page.getByRole("button", { name: "Chat with it" }).click()
    await say(page, ASKED)
    expect(await lastAnswer(page)).toBe(expected.adapted)
    await page.getByText("with Captain").first().waitFor()

    await page.getByRole("link", { name: "New conversation" }).click()
    await say(page, ASKED)
    expect(await lastAnswer(page)).toBe(expected.base)
    await page.goBack() // to the first conversation
    await page.getByText("with Captain").first().waitFor()
    await page.getByRole("button", { name: "Answer anew", exact: true }).click()
    expect(await lastAnswer(page)).toBe(expected.adapted)

    await page.reload()
    await ready(page)
    await page.getByRole("button", { name: "System text and sampling" }).click()
    const choice = page.getByRole("combobox", { name: /^Adapter/ })
    expect(await choice.locator("option:checked").innerText()).toBe("Captain")
    await choice.selectOption({ label: "None: the model as it is" })
    await page.keyboard.press("Escape")
    await page.getByRole("button", { name: "Answer anew", exact: true }).click()
    expect(await lastAnswer(page)).toBe(expected.base)

    await page.getByRole("button", { name: "System text and sampling" }).click()
    await choice.selectOption({ label: "Captain" })
    await page.keyboard.press("Escape")
    const conversation = page.url()
    await toAdapters(page)
    await page.getByRole("link", { name: "Captain" }).click()
    await page.getByRole("button", { name: "Delete", exact: true }).click()
    await page.getByText("None yet.").waitFor()
    expect(await keptFiles(page)).toEqual([])
    await page.goto(conversation)
    await page.getByText("not on this device any more").waitFor()
    await page.getByRole("button", { name: "Answer anew", exact: true }).click()
    await page.getByText("“Captain” is gone.").waitFor()
    await page.getByRole("button", { name: "Go on without it" }).click()
    await page.getByRole("button", { name: "Answer anew", exact: true }).click()
    expect(await lastAnswer(page)).toBe(expected.base)
    expect(errors).toEqual([])
  })

  test("answers beside the base, is downloaded byte for byte, and merged as in Node", async () => {
    const { page, errors } = await arrive()
    await bringPirate(page)
    await page.getByLabel("Prompt").fill(ASKED)
    await page.getByRole("button", { name: "Answer twice" }).click()
    await page.getByRole("button", { name: "Answer twice" }).waitFor()
    const side = (name: string) => page.getByRole("article", { name }).locator(".markdown")
    expect(await side("storyteller alone").innerText()).toBe(expected.base.trim())
    expect(await side("With pirate").innerText()).toBe(expected.adapted.trim())
    await page.getByRole("button", { name: "Answer twice" }).click()
    await page.getByRole("button", { name: "Stop" }).click()
    await page.getByRole("button", { name: "Answer twice" }).waitFor()
    expect(await page.getByRole("alert").count()).toBe(0)
    await trainOn(page, later[WEIGHTS]!)
    await page.getByRole("button", { name: "Answer twice" }).click()
    await page.getByRole("button", { name: "Answer twice" }).waitFor()
    expect(await side("With pirate").innerText()).toBe(expected.later.trim())
    await trainOn(page, files[WEIGHTS]!)

    const alone = await download(page, "Download the adapter")
    expect(alone.name).toBe("pirate.zip")
    expect(Object.keys(alone.files)).toEqual([`pirate/${CONFIG}`, `pirate/${WEIGHTS}`])
    for (const name of [CONFIG, WEIGHTS])
      expect(Buffer.from(alone.files[`pirate/${name}`]!).equals(files[name]!)).toBe(true)

    const merged = await download(page, "Merge and download")
    const store = memoryStore()
    await merge(undefined, [folderOf(files)], store)
    const name = "storyteller pirate"
    expect(merged.name).toBe(`${name}.zip`)
    expect(Object.keys(merged.files).sort()).toEqual([...store.files.keys()].map((file) => `${name}/${file}`).sort())
    for (const [file, bytes] of store.files) {
      expect(Buffer.from(merged.files[`${name}/${file}`]!).equals(bytes), file).toBe(true)
    }
    const own = Object.entries(merged.files).map(([path, bytes]) => [path.slice(name.length + 1), bytes] as const)
    const lm = await load(memoryFolder("merged", new Map(own)), { device: testDeviceKind(), context: 256 })
    expect(await greedyText(lm)).toBe(expected.adapted)
    await lm.dispose()
    await page.getByRole("button", { name: "Clear it" }).click()
    await page.getByText("goes to your downloads").waitFor({ state: "detached" })
    expect(errors).toEqual([])
  })
})

describe("what is no adapter for the model", () => {
  test("is refused in words, and nothing of it is kept", async () => {
    const { page, context, errors } = await arrive()
    const whole = zipOf(files)
    const text = (content: string) => new TextEncoder().encode(content)
    const config = JSON.parse(new TextDecoder().decode(files[CONFIG]))
    const cut = { ...whole, buffer: whole.buffer.subarray(0, 9000) }
    const damaged = { ...whole, buffer: Buffer.from(whole.buffer) }
    damaged.buffer[9000]! ^= 1
    const cases: readonly (readonly [ReturnType<typeof zipOf>, RegExp])[] = [
      [cut, /zip: end is missing/],
      [damaged, /adapter_model\.safetensors is damaged/],
      [zipOf({ "model.safetensors": text("x") }), /adapter_config\.json: is missing/],
      [zipOf({ ...files, [CONFIG]: text("{ not JSON") }), /adapter_config\.json: text is malformed/],
      [zipOf({ ...files, [WEIGHTS]: files[WEIGHTS]!.subarray(0, 5000) }), /adapter_model\.safetensors: .* expected/],
      [zipOf({ ...files, [CONFIG]: text(JSON.stringify({ ...config, peft_type: "IA3" })) }), /peft_type is "?IA3/],
      [zipOf(await madeUp(256)), /up_proj.* expected/],
    ]
    for (const [file, words] of cases) {
      await bring(page, file)
      await page.getByRole("alert").getByText(words).waitFor()
      await page.getByRole("button", { name: "Close", exact: true }).click()
    }
    await page.getByText("None yet.").waitFor()
    expect(await keptFiles(page)).toEqual([])

    const session = await context.newCDPSession(page)
    const { origin } = new URL(page.url())
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1000 })
    await bring(page, zipOf(files))
    await page.getByRole("alert").getByText("There is not enough room on this device").waitFor()
    expect(await keptFiles(page)).toEqual([])
    await session.send("Storage.overrideQuotaForOrigin", { origin })
    await bringPirate(page) // the model takes the next all the same
    expect(errors).toEqual([])
  })
})

test("the pages of adapters have no serious barrier, dark and light, wide and narrow", async () => {
  const { page } = await arrive({ bypassCSP: true })
  const check = async (what: string) => {
    for (const [colorScheme, width] of [
      ["light", 1280],
      ["dark", 390],
    ] as const) {
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize({ width, height: 800 })
      expect(await violations(page), `${what}, ${colorScheme}`).toEqual([])
      expect(await overflow(page), `${what}, ${width} pixels`).toBeLessThanOrEqual(0)
    }
  }
  await bring(page, zipOf({ [CONFIG]: files[CONFIG]! }))
  await page.getByRole("alert").waitFor()
  await check("refused")
  await bringPirate(page)
  await page.getByLabel("Prompt").fill(ASKED)
  await page.getByRole("button", { name: "Answer twice" }).click()
  await page.getByRole("article", { name: "With pirate" }).waitFor()
  await check("adapter")
  await page.getByRole("link", { name: "All adapters" }).click()
  await page.getByRole("link", { name: "pirate" }).waitFor()
  await check("list")
})
