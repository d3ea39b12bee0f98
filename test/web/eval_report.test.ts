import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { Browser, BrowserContextOptions, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest"
import { evalReport } from "../../src/eval/report/report.ts"
import type { ReadRun } from "../../src/eval/run_folder.ts"
import { resultLine, runFile, SAMPLES, syntheticRun, TASKS } from "../eval/report_data.ts"
import { overflow, violations } from "./axe.ts"
import { launch } from "./chromium.ts"

const HOSTILE = `</script><script>window.hostile = 1</script><img src=x onerror="hostile=1">`

let browser: Browser
let folder = ""
beforeAll(async () => {
  browser = await launch()
  folder = await mkdtemp(join(tmpdir(), "gemlet-report-"))
  const report = await evalReport([syntheticRun("base", 0.45, 1), syntheticRun("adapter", 0.85, 2)], TASKS)
  await writeFile(join(folder, "report.html"), report.html)
})
afterAll(async () => {
  await browser.close()
  await rm(folder, { recursive: true, force: true })
})

/** A report in a browser, with what it asked of a network and what went wrong in it. */
async function open(options: BrowserContextOptions = {}, file = "report.html") {
  const context = await browser.newContext(options)
  onTestFinished(() => context.close())
  const page = await context.newPage()
  const errors: string[] = []
  page.on("pageerror", (error) => errors.push(String(error)))
  page.on("console", (message) => errors.push(message.text()))
  page.on("request", (request) => {
    if (!/^(file|data):/.test(request.url())) errors.push(request.url())
  })
  await page.goto(pathToFileURL(join(folder, file)).href)
  return { page, errors }
}

const cell = (page: Page, length: number, depth: number) =>
  page.locator(`.cell[data-length="${length}"][data-depth="${depth}"]`).first()

describe("a report", () => {
  for (const colorScheme of ["light", "dark"] as const) {
    for (const width of [1280, 390]) {
      test(`has no serious barrier, ${colorScheme}, ${width} pixels wide`, async () => {
        const { page, errors } = await open({ colorScheme, viewport: { width, height: 800 }, bypassCSP: true })
        expect(await violations(page), "page").toEqual([])
        expect(await overflow(page)).toBeLessThanOrEqual(0)
        await cell(page, 4096, 50).click()
        await page.locator("dialog summary").first().click()
        expect(await violations(page), "dialog").toEqual([])
        expect(errors).toEqual([])
      })
    }
  }

  test("opens the instances of a cell: prompt, what was looked for, answers and scores", async () => {
    const { page, errors } = await open()
    await cell(page, 32768, 50).click()
    expect(await page.locator("dialog h3").innerText()).toBe("niah_single, 32,768 tokens, depth 50 %")
    expect(await page.locator("dialog .instance").count()).toBe(SAMPLES)
    await page.locator("dialog summary").first().click()
    const body = page.locator("dialog .body")
    expect(await body.locator(".refs").innerText()).toBe("4844818")
    expect(await body.locator("pre").first().innerText()).toMatch(/hidden within.*characters not shown.*is: 4844818/s)
    expect(await body.locator("mark").first().innerText()).toBe("4844818")
    expect(await body.innerText()).toMatch(/does not carry the whole.*base.*adapter/s)
    await page.keyboard.press("Escape")
    expect(await page.locator("dialog").isVisible()).toBe(false)
    expect(errors).toEqual([])
  })

  test("shows the whole of a prompt that it carries", async () => {
    const { page } = await open()
    await cell(page, 4096, 50).click()
    await page.locator("dialog summary").first().click()
    const prompt = page.locator("dialog .body pre").first()
    expect(await prompt.innerText()).toContain("characters not shown")
    await page.getByRole("button", { name: /^Show all/ }).click()
    expect(await prompt.innerText()).not.toContain("not shown")
    expect(await prompt.locator("mark").count()).toBe(1)
  })

  test("is used by keys: one stop of Tab a map, arrows between cells, Enter opens", async () => {
    const { page } = await open()
    await cell(page, 256, 0).focus()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    expect(await page.locator("dialog h3").innerText()).toBe("niah_single, 1,024 tokens, depth 25 %")
    expect(
      await page
        .locator("svg")
        .filter({ has: page.locator(".cell") })
        .first()
        .locator('[tabindex="0"]')
        .count(),
    ).toBe(1)
  })

  test("sorts tables, and instances by how bad they are", async () => {
    const { page } = await open()
    const first = () => page.locator("table").first().locator("tbody tr td").first().innerText()
    const byBase = page.locator("table").first().getByRole("button", { name: "base", exact: true })
    await byBase.click()
    expect(await first()).toBe("niah_single")
    await byBase.click()
    expect(await first()).toBe("position_loss")
    await page.getByRole("button", { name: "Open all 100 instances" }).click()
    await page.locator("dialog select").selectOption("apart")
    expect(await page.locator("dialog .instance .pill").allInnerTexts()).toHaveLength(200)
    const pills = await page.locator("dialog .instance").first().locator(".pill").allInnerTexts()
    expect(pills.sort()).toEqual(["0.000", "1.000"])
  })

  test("runs nothing of what prompts and models say", async () => {
    const line = resultLine({
      ...{ task: HOSTILE, id: HOSTILE, length: 1024, depth: 50, score: 0.5, answer: HOSTILE, refs: [HOSTILE] },
      meta: { [HOSTILE]: HOSTILE },
    })
    const run: ReadRun = {
      ...{ name: HOSTILE, run: runFile(HOSTILE), lines: [line], notes: [HOSTILE] },
      prompts: [{ task: HOSTILE, id: HOSTILE, text: HOSTILE }],
    }
    await writeFile(join(folder, "hostile.html"), (await evalReport([run], TASKS)).html)
    const { page, errors } = await open({}, "hostile.html")
    await cell(page, 1024, 50).click()
    expect(await page.locator("dialog .body pre").first().innerText()).toBe(HOSTILE)
    expect(await page.evaluate(() => "hostile" in window)).toBe(false)
    expect(await page.locator("img").count()).toBe(0)
    expect(errors).toEqual([])
  })
})
