import { describe, expect, test } from "vitest"
import { overflow, violations } from "./axe.ts"
import { answers, ready, say, usePage } from "./chromium.ts"
import { importable, stored } from "./stored.ts"

const MARKDOWN =
  "# Title\n\nText, `code`, [a link](https://host.example).\n\n```js\nlet a = 'b' // c\n```\n\n| a |\n|---|\n| 1 |"
const LONG = 500

const open = usePage()

describe("the page", () => {
  for (const colorScheme of ["light", "dark"] as const) {
    for (const width of [1280, 390]) {
      test(`has no serious barrier, ${colorScheme}, ${width} pixels wide`, async () => {
        const options = { colorScheme, viewport: { width, height: 800 }, bypassCSP: true }
        const { page } = await open(options)
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
      })
    }
  }

  test("can be used by keys alone, and says who is where", async () => {
    const { page } = await open()
    await ready(page)
    expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("TEXTAREA")
    await page.locator(".skip").focus()
    expect((await page.locator(".skip").boundingBox())!.y).toBeGreaterThanOrEqual(0)
    await page.keyboard.press("Enter")
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("main")
    for (const role of ["main", "navigation", "complementary", "banner"] as const) {
      expect(await page.getByRole(role).count(), role).toBe(1)
    }
  })

  test("computes no task of 50 ms while 500 tokens come", async () => {
    const { page, context } = await open()
    await ready(page)
    await page.getByRole("button", { name: "System text and sampling" }).click()
    await page.getByLabel("Temperature").fill("40") // any tokens: text of all kinds, and hardly an end
    await page.getByLabel("Top k").fill("0")
    await page.getByLabel("Top p").fill("1")
    await page.getByLabel("Seed").fill("3")
    await page.getByLabel("Most tokens").fill(String(LONG))
    await page.getByRole("button", { name: "Close", exact: true }).click()
    const browser = context.browser()!
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
