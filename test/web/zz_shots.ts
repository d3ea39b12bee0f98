// Pictures of each view for docs/, from the built page: 1280 and 390 pixels wide, light and dark.
//   npm run web:build && npx tsx test/web/screenshots.ts        (then look at them)
import { fileURLToPath } from "node:url"
import type { Page } from "playwright-core"
import { answers, greedy, launch, PATIENCE, ready, say, until, visit } from "./chromium.ts"
import { serveSite } from "./site.ts"

const FOLDER = fileURLToPath(new URL("../../docs/images/", import.meta.url))
const STORYTELLER = fileURLToPath(new URL("../../weights/storyteller", import.meta.url))
const SIZES = [
  { width: 1280, height: 800 },
  { width: 390, height: 780 },
]
const STEPS = 24

/** What is on the picture of a conversation: Markdown of all kinds, which the storyteller does not write. */
const SAMPLE = `Sorting by merging takes two halves that are sorted and goes through **both at once**:

\`\`\`python
def merge(a: list, b: list) -> list:
    """The elements of two sorted lists in order."""
    result = []
    while a and b:
        result.append((a if a[0] <= b[0] else b).pop(0))
    return result + a + b
\`\`\`

| n | comparisons at most |
|--:|--:|
| 8 | 17 |
| 1,024 | 9,217 |

1. It is *stable*: equal elements stay in order.
2. It needs a list of the same length beside.`

/** What the run on the pictures learns: stories in which every animal says the same. */
const EXAMPLES = ["fox", "owl", "bear", "frog", "duck", "cat", "hen", "mole", "dog", "bird"]
  .flatMap((animal) =>
    ["boat", "drum", "kite"].map(
      (thing) => `Once there was a ${animal}. The ${animal} had a red ${thing}. "Ahoy!" it said.`,
    ),
  )
  .map((text) => JSON.stringify({ text }))
  .join("\n")

async function conversation(page: Page): Promise<void> {
  await greedy(page, 90)
  await say(page, "Tell me a story about Lily.")
  await answers(page)
}

/** A conversation of another model's, brought along as a file. */
async function markdown(page: Page): Promise<void> {
  const facts = { model: "example", ending: "eos", tokens: 171, tokensPerSecond: 41, promptTokens: 14, reusedTokens: 0 }
  const turns = [
    { role: "user", text: "How does merge sort work?" },
    { role: "assistant", text: SAMPLE, facts },
  ]
  const one = { id: "sample", title: "How does merge sort work?", created: 1, updated: 2, turns }
  const file = { format: "gemlet-conversations", version: 1, conversations: [one] }
  const buffer = Buffer.from(JSON.stringify(file))
  await page.locator('input[accept*="json"]').setInputFiles({ name: "a.json", mimeType: "application/json", buffer })
  await page.getByRole("button", { name: "Close the message" }).click()
  await go(page, "#/chat/sample")
  await page.locator(".turn.assistant").waitFor()
}

/** A kept model, and another that is looked at. */
async function models(page: Page): Promise<void> {
  await go(page, "#/models")
  await page.locator("input[webkitdirectory]").setInputFiles(STORYTELLER)
  await page.getByLabel("Keep it on this device").check()
  await page.getByRole("button", { name: "Keep and load" }).click()
  await page.getByText("last used").waitFor()
  await page.getByText("GPU memory in all").waitFor()
  await page.getByRole("button", { name: /^Load / }).click()
  await page.getByRole("row").filter({ hasText: "4 bits" }).getByText("MiB").first().waitFor()
}

/** A run underway, more than half done. */
async function run(page: Page): Promise<void> {
  await greedy(page, 60); await go(page, "#/adapters")
  await page.getByRole("textbox", { name: /^Examples/ }).fill(EXAMPLES)
  const form = page.getByRole("main")
  await form.getByLabel("Name").fill("Sailors")
  const numbers = { Rank: 4, Steps: STEPS, "Rows a step": 2, "Tokens a row": 64, "Learning rate": 0.002 }
  for (const [name, value] of Object.entries(numbers)) await form.getByLabel(name).fill(String(value))
  await page.getByRole("button", { name: "See what it takes" }).click()
  await page.getByRole("button", { name: "Start training" }).click()
  const bar = page.getByRole("progressbar", { name: /^Training of/ })
  const half = (element: Element) => (element as HTMLProgressElement).value > (element as HTMLProgressElement).max / 2
  await until("half of the steps", () => bar.evaluate(half), 3 * PATIENCE)
  await page.getByRole("button", { name: "Pause" }).click()
  await page.getByRole("button", { name: "Go on", exact: true }).waitFor()
  await page.locator("svg[role=img]").first().scrollIntoViewIfNeeded()
}

/** The adapter that has come of it, beside the base. */
async function adapter(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Go on", exact: true }).click()
  await page.getByText(`It is done: ${STEPS} steps.`).waitFor({ timeout: 3 * PATIENCE })
  await page.getByLabel("Prompt").fill("Tell me a story about a fox.")
  await page.getByRole("button", { name: "Answer twice" }).click()
  await page.getByRole("button", { name: "Stop" }).waitFor()
  await page.getByRole("button", { name: "Answer twice" }).waitFor()
  await page.getByRole("heading", { name: "Try it beside the base" }).evaluate((element) => element.scrollIntoView())
}

async function adapters(page: Page): Promise<void> {
  await go(page, "#/adapters")
  await page.getByRole("heading", { name: "Bring one" }).waitFor()
  await page.locator(".scroller").evaluate((element) => element.scrollTo(0, 0))
}

async function look(page: Page): Promise<void> {
  await go(page, "#/look")
  const text = "Once upon a time, there was a little girl named Lily. She loved to play outside with her red ball."
  await page.getByLabel("Text", { exact: true }).fill(text)
  await page.getByRole("button", { name: "Look", exact: true }).click()
  await page.getByRole("table", { name: /attends most to/ }).waitFor()
  await page.getByRole("listbox").focus()
  await page.keyboard.press("Home")
  for (let i = 0; i < 12; i++) await page.keyboard.press("ArrowRight")
  await page.getByRole("listbox").evaluate((element) => element.scrollIntoView())
}

/** The same page, further down. */
async function attention(page: Page): Promise<void> {
  await page
    .locator("canvas")
    .first()
    .evaluate((element) => element.scrollIntoView({ block: "center" }))
}

async function go(page: Page, hash: string): Promise<void> {
  await page.evaluate((to) => {
    location.hash = to
  }, hash)
}

const VIEWS = { run, adapter, adapters, look, attention, models }

const browser = await launch()
await using site = await serveSite()
try {
  const { page } = await visit(browser, site)
  await ready(page)
  for (const [name, view] of Object.entries(VIEWS)) {
    await page.setViewportSize(SIZES[0]!)
    await view(page)
    await page.mouse.move(0, 0)
    for (const colorScheme of ["light", "dark"] as const) {
      for (const viewport of SIZES) {
        await page.emulateMedia({ colorScheme })
        await page.setViewportSize(viewport)
        await page.waitForTimeout(300) // what is drawn by its width is drawn anew
        await page.screenshot({ path: `${FOLDER}web_${name}_${viewport.width}_${colorScheme}.png` })
      }
    }
  }
} catch (e) { await browser.contexts()[0]!.pages()[0]!.screenshot({ path: '/tmp/t4/fail.png' }); throw e } finally {
  await browser.close()
}
