import { fileURLToPath } from "node:url"
import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { answers, eventually, greedy, launch, ready, say, visit } from "./chromium.ts"
import { type Site, serveSite } from "./site.ts"
import { importable, stored, storedTurns } from "./stored.ts"

const STORYTELLER = fileURLToPath(new URL("../../weights/storyteller", import.meta.url))

let browser: Browser
let site: Site
beforeAll(async () => {
  browser = await launch()
  site = await serveSite()
})
afterAll(async () => {
  await browser.close()
  await site[Symbol.asyncDispose]()
})

/** Puts something before the engine's script. */
async function beforeEngine(page: Page, script: string): Promise<void> {
  await page.route(/assets\/script-/, async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: `${script};${await response.text()}` })
  })
  await page.reload()
}

describe("without WebGPU", () => {
  test("the page says which browsers have it, and conversations can be read", async () => {
    const { page, context, errors } = await visit(browser, site)
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "gpu", { value: undefined }))
    await page.reload()
    const card = page.getByRole("alert")
    await card.getByText("This browser gives the page no GPU").waitFor()
    expect(await card.innerText()).toMatch(/Chrome[\s\S]*Safari[\s\S]*Firefox/)
    await page.locator('input[accept*="json"]').setInputFiles(importable(["kept **text**"]))
    await page.getByText("Case 0").click()
    expect(await page.locator(".markdown strong").innerText()).toBe("text")
    expect(await page.getByRole("button", { name: "Send" }).isDisabled()).toBe(true)
    expect(errors).toEqual([])
    await context.close()
  })

  test("an adapter that is missing is told in the same words", async () => {
    const { page, context } = await visit(browser, site)
    await beforeEngine(page, "navigator.gpu.constructor.prototype.requestAdapter = async () => null")
    await page.getByRole("alert").getByText("This browser gives the page no GPU").waitFor()
    await context.close()
  })
})

describe("a device that is lost in an answer", () => {
  test("is told, and the model comes back with the conversation", async () => {
    const { page, context } = await visit(browser, site)
    const hook = `const own = GPUAdapter.prototype.requestDevice
      GPUAdapter.prototype.requestDevice = async function (...args) {
        return (globalThis.device = await own.apply(this, args))
      }`
    await beforeEngine(page, hook)
    await ready(page)
    await greedy(page, 1000)
    await say(page, "Tell me a story about Lily.")
    const live = page.locator(".turn.live .markdown")
    await eventually(async () => (await live.innerText()).length).toBeGreaterThan(20)
    await page.workers()[0]!.evaluate(() => (globalThis as unknown as { device: GPUDevice }).device.destroy())
    await page.getByRole("alert").getByText("The GPU was lost").waitFor()
    await answers(page)
    const [before] = await stored(page)
    expect(before!.turns[1]!.facts!.ending).toBe("failed")
    expect(before!.turns[1]!.text.length).toBeGreaterThan(20) // what had come is kept
    await page.getByRole("button", { name: "Bring the model back" }).click()
    await ready(page)
    await greedy(page, 16)
    await page.getByRole("button", { name: "Answer anew", exact: true }).click()
    await answers(page)
    const [after] = await stored(page)
    expect(after!.turns[1]!.facts!.ending).toBe("length")
    const both = Math.min(before!.turns[1]!.text.length, after!.turns[1]!.text.length)
    expect(after!.turns[1]!.text.slice(0, both)).toBe(before!.turns[1]!.text.slice(0, both))
    await context.close()
  })
})

describe("a model of the visitor's own", () => {
  test("from a folder tells what it needs, loads and answers as the same files of the page", async () => {
    const { page, context, errors } = await visit(browser, site)
    await ready(page)
    await greedy(page, 16)
    await page.getByRole("link", { name: "Models" }).click()
    await page.locator("input[webkitdirectory]").setInputFiles(STORYTELLER)
    await page.getByRole("heading", { name: "storyteller" }).last().waitFor()
    const rows = page.getByRole("row")
    await rows.filter({ hasText: "4 bits" }).getByText("MiB").first().waitFor()
    await page.locator("select").selectOption("1024")
    await rows.filter({ hasText: "as stored" }).getByText("7.1 MiB").waitFor()
    await page.getByRole("button", { name: "Load", exact: true }).click()
    await page.getByText("of 1,024 positions").waitFor()
    await say(page, "Tell me a story about Lily.")
    await answers(page)
    expect((await storedTurns(page))[1]).toMatch(/^Once upon a time, there was a little girl named Lily/)
    expect(errors).toEqual([])
    await context.close()
  })

  test("that is no model is refused in words, and the one that is there stays", async () => {
    const { page, context } = await visit(browser, site)
    await ready(page)
    await page.getByRole("link", { name: "Models" }).click()
    const file = { name: "config.json", mimeType: "application/json", buffer: Buffer.from("{ not JSON") }
    await page.locator('input[aria-label="A checkpoint\'s files"]').setInputFiles(file)
    await page
      .getByRole("alert")
      .getByText(/config\.json/)
      .waitFor()
    await page.getByRole("link", { name: "New conversation" }).click()
    await ready(page)
    await context.close()
  })
})
