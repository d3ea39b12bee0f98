import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { answers, launch, ready, say, visit } from "./chromium.ts"
import { type Site, serveSite } from "./site.ts"
import { importable, stored } from "./stored.ts"

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")
const MARKDOWN =
  "# Title\n\nText, `code`, [a link](https://host.example).\n\n```js\nlet a = 'b' // c\n```\n\n| a |\n|---|\n| 1 |"
const LONG = 500

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

interface Violation {
  readonly id: string
  readonly impact: string
  readonly nodes: readonly { readonly html: string }[]
}

/** What axe finds to be serious or critical. */
async function violations(page: Page): Promise<string[]> {
  const found = await page.evaluate(async (source) => {
    if (!("axe" in window)) new Function(source)()
    const { axe } = window as unknown as { axe: { run(): Promise<{ violations: Violation[] }> } }
    return (await axe.run()).violations
  }, AXE)
  return found
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`)
}

describe("the page", () => {
  for (const colorScheme of ["light", "dark"] as const) {
    for (const width of [1280, 390]) {
      test(`has no serious barrier, ${colorScheme}, ${width} pixels wide`, async () => {
        const options = { colorScheme, viewport: { width, height: 800 }, bypassCSP: true }
        const { page, context } = await visit(browser, site, options)
        await ready(page)
        expect(await violations(page), "empty").toEqual([])
        await page.locator('input[accept*="json"]').setInputFiles(importable([MARKDOWN]))
        await page.getByText("1 conversation added.").waitFor()
        expect(await violations(page), "notice").toEqual([])
        await page.evaluate(() => {
          location.hash = "#/chat/case-0"
        })
        await page.locator(".turn").waitFor()
        if (width < 800) await page.getByRole("button", { name: "Conversations" }).click()
        expect(await violations(page), "conversation").toEqual([])
        if (width < 800) await page.keyboard.press("Escape")
        await page.getByRole("button", { name: "System text and sampling" }).click()
        expect(await violations(page), "dialog").toEqual([])
        await page.keyboard.press("Escape")
        await page.evaluate(() => {
          location.hash = "#/models"
        })
        await page.getByRole("heading", { name: "Another model" }).waitFor()
        expect(await violations(page), "models").toEqual([])
        expect(await overflow(page)).toBeLessThanOrEqual(0)
        await context.close()
      })
    }
  }

  test("can be used by keys alone, and says who is where", async () => {
    const { page, context } = await visit(browser, site)
    await ready(page)
    expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("TEXTAREA")
    await page.locator(".skip").focus()
    expect((await page.locator(".skip").boundingBox())!.y).toBeGreaterThanOrEqual(0)
    await page.keyboard.press("Enter")
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("main")
    for (const role of ["main", "navigation", "complementary", "banner"] as const) {
      expect(await page.getByRole(role).count(), role).toBe(1)
    }
    await context.close()
  })

  test("computes no task of 50 ms while 500 tokens come", async () => {
    const { page, context } = await visit(browser, site)
    await ready(page)
    await page.getByRole("button", { name: "System text and sampling" }).click()
    await page.getByLabel("Temperature").fill("40") // any tokens: text of all kinds, and hardly an end
    await page.getByLabel("Top k").fill("0")
    await page.getByLabel("Top p").fill("1")
    await page.getByLabel("Seed").fill("3")
    await page.getByLabel("Most tokens").fill(String(LONG))
    await page.getByRole("button", { name: "Close", exact: true }).click()
    await browser.startTracing(page, { categories: ["toplevel", "disabled-by-default-devtools.timeline"] })
    let tokens = 0
    while (tokens < LONG) {
      await say(page, "Tell me a story.")
      await page.locator(".turn.live").waitFor()
      await answers(page)
      const [conversation] = await stored(page)
      tokens = conversation!.turns.reduce((sum, { facts }) => sum + (facts?.tokens ?? 0), 0)
    }
    const trace = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] }
    const tasks = mainThreadTasks(trace.traceEvents)
    expect(tasks.length).toBeGreaterThan(100)
    expect(Math.max(...tasks)).toBeLessThan(50)
    await context.close()
  })
})

interface TraceEvent {
  readonly name: string
  readonly ph: string
  readonly pid: number
  readonly tid: number
  /** Microseconds of the processor: waiting for others, of whom a software adapter has many, is not the page's doing. */
  readonly tdur?: number
  readonly args?: { readonly name?: string }
}

/** Milliseconds that each task of renderers' main threads has computed. */
function mainThreadTasks(events: readonly TraceEvent[]): number[] {
  const threads = events
    .filter(({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain")
    .map(({ pid, tid }) => `${pid} ${tid}`)
  const mains = new Set(threads)
  return events
    .filter(({ name, ph, pid, tid }) => name === "RunTask" && ph === "X" && mains.has(`${pid} ${tid}`))
    .map(({ tdur = 0 }) => tdur / 1000)
}

/** Pixels by which the page is wider than its window. */
function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
}
