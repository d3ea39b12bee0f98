import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import type { Page } from "playwright-core"

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")

interface Violation {
  readonly id: string
  readonly impact: string
  readonly nodes: readonly { readonly html: string }[]
}

/** What axe finds to be serious or critical. */
export async function violations(page: Page): Promise<string[]> {
  const found = await page.evaluate(async (source) => {
    if (!("axe" in window)) new Function(source)()
    const { axe } = window as unknown as { axe: { run(): Promise<{ violations: Violation[] }> } }
    return (await axe.run()).violations
  }, AXE)
  return found
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`)
}

/** Pixels by which the page, or what scrolls in it, is wider than its room. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate(() => {
    const scrolling = [document.documentElement, ...document.querySelectorAll(".scroller")]
    return Math.max(...scrolling.map(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth))
  })
}
