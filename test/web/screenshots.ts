// Pictures of each view for docs/, from the built page: 1280 and 390 pixels wide, light and dark.
//   npm run web:build && npx tsx test/web/screenshots.ts        (then look at them)
import { fileURLToPath } from "node:url"
import type { Page } from "playwright-core"
import { answers, greedy, launch, ready, say, visit } from "./chromium.ts"
import { serveSite } from "./site.ts"

const FOLDER = fileURLToPath(new URL("../../docs/images/", import.meta.url))
const STORYTELLER = fileURLToPath(new URL("../../weights/storyteller", import.meta.url))
const SIZES = [
  { width: 1280, height: 800 },
  { width: 390, height: 780 },
]

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

async function conversation(page: Page): Promise<void> {
  await greedy(page, 90)
  await say(page, "Tell me a story about Lily.")
  await page.locator(".turn.live").waitFor()
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

async function models(page: Page): Promise<void> {
  await go(page, "#/models")
  await page.locator("input[webkitdirectory]").setInputFiles(STORYTELLER)
  await page.getByRole("row").filter({ hasText: "4 bits" }).getByText("MiB").first().waitFor()
  await page.locator(".scroller").evaluate((element) => element.scrollTo(0, element.scrollHeight))
}

async function go(page: Page, hash: string): Promise<void> {
  await page.evaluate((to) => {
    location.hash = to
  }, hash)
}

const browser = await launch()
await using site = await serveSite()
try {
  for (const colorScheme of ["light", "dark"] as const) {
    for (const viewport of SIZES) {
      const { page, context } = await visit(browser, site, { colorScheme, viewport })
      await ready(page)
      for (const [name, view] of Object.entries({ conversation, markdown, models })) {
        await view(page)
        await page.mouse.move(0, 0)
        await page.screenshot({ path: `${FOLDER}web_${name}_${viewport.width}_${colorScheme}.png` })
      }
      await context.close()
    }
  }
} finally {
  await browser.close()
}
