import { fileURLToPath } from "node:url"
import type { Browser, Locator, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type LanguageModel, load } from "../../src/index.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { overflow, violations } from "./axe.ts"
import { eventually, launch, PATIENCE, ready, type Visit, visit } from "./chromium.ts"
import { type Site, serveSite } from "./site.ts"
import { importable } from "./stored.ts"

const TEXT = "Once upon a time there was a little dog.\nHe liked to play with the cat."
/** A number of three digits, computed by another adapter. */
const NEAR = 0.01

const STORYTELLER = fileURLToPath(new URL("../../weights/storyteller", import.meta.url))

/** A model's shaders take a software adapter long: all but one test share a visit. */
let browser: Browser
let site: Site
let visited: Visit
let lm: LanguageModel
beforeAll(async () => {
  browser = await launch()
  site = await serveSite()
  visited = await visit(browser, site)
  await ready(visited.page)
  lm = await load(undefined, { device: testDeviceKind(), context: 256 })
}, PATIENCE)
afterAll(async () => {
  await lm?.dispose()
  await browser?.close()
  await site?.[Symbol.asyncDispose]()
})

async function show(page: Page, hash: string): Promise<void> {
  await page.evaluate((to) => {
    location.hash = to
  }, hash)
}

async function lookAt(page: Page, text: string): Promise<void> {
  await show(page, "#/look")
  await page.getByLabel("Text", { exact: true }).fill(text)
  await page.getByRole("button", { name: "Look", exact: true }).click()
  await found(page, lm.encode(text).length)
}

/** Waits for what there is to see of a text of T tokens. */
async function found(page: Page, T: number): Promise<void> {
  await eventually(() => tokensOf(page).count()).toBe(T + 1)
  await page.getByRole("table", { name: /attends most to/ }).waitFor()
}

/** The tokens of the text, and what comes next. */
function tokensOf(page: Page): Locator {
  return page.getByRole("listbox").getByRole("option")
}

/** The cells of a table's body. */
function cells(page: Page, selector: string): Promise<string[][]> {
  return page.locator(`${selector} tbody tr`).evaluateAll((rows) => {
    return rows.map((row) => [...row.children].map((cell) => (cell.querySelector("code") ?? cell).textContent!))
  })
}

/** Chooses token t by keys. */
async function choose(page: Page, t: number): Promise<void> {
  await page.getByRole("listbox").focus()
  await page.keyboard.press("Home")
  for (let i = 0; i < t; i++) await page.keyboard.press("ArrowRight")
}

function expectNear(text: string, expected: number): void {
  const error = Math.abs(Number.parseFloat(text) - expected)
  expect(error, `${text} of ${expected}`).toBeLessThanOrEqual(NEAR * Math.abs(expected) + 2e-3)
}

describe("look inside", () => {
  test("shows what lm.predictions gives, token by token, and the sums of lm.score", async () => {
    const { page, errors } = visited
    await lookAt(page, TEXT)
    const { tokens, ids, topLogProbs, logProbs, ranks } = await lm.predictions(TEXT)
    expect(await tokensOf(page).count()).toBe(tokens.length + 1)
    for (const t of [1, 6, tokens.length]) {
      await choose(page, t)
      const rows = await cells(page, ".expected")
      expect(rows.length).toBe(10)
      rows.forEach(([rank, name, probability, logProb], k) => {
        const i = (t - 1) * 10 + k
        expect(rank).toBe(String(k + 1))
        expect(name!.replaceAll("·", " ").replaceAll("⏎", "\n")).toBe(lm.tokenizer!.piece(ids[i]!, false))
        expectNear(probability!, 100 * Math.exp(topLogProbs[i]!))
        expectNear(logProb!, topLogProbs[i]!)
      })
      const told = await page.locator(".expected p").innerText()
      if (t === tokens.length) expect(told).toBe("It comes after the last token.")
      else expect(told).toContain(`rank ${ranks[t - 1]!.toLocaleString("en")};`)
      const marked = await page.locator(".expected tbody tr").evaluateAll((all) => {
        return all.findIndex((row) => row.textContent!.includes("came") && row.className === "came")
      })
      expect(marked).toBe([...ids.subarray((t - 1) * 10, t * 10)].indexOf(tokens[t] ?? -1))
    }
    const { loss, perplexity } = await lm.score(TEXT)
    const sums = new Map((await cells(page, ".sums")).map(([name, value]) => [name, value!]))
    expect(sums.get("Tokens")).toBe(String(tokens.length))
    expectNear(sums.get("Mean loss")!, loss)
    expectNear(sums.get("Perplexity")!, perplexity)
    expectNear(sums.get("Bits per byte")!, (loss * logProbs.length) / Math.LN2 / Buffer.byteLength(TEXT))
    expect(await page.getByRole("img", { name: /^Loss by position/ }).count()).toBe(1)
    expect(errors).toEqual([])
  })

  test("shows what lm.attention gives, of the head that is chosen", async () => {
    const { page, errors } = visited
    await lookAt(page, TEXT)
    const { config } = lm
    if (config.modelType === "hgrn_bit") throw new TypeError("the storyteller is expected to have attention")
    const local = config.layers.findIndex(({ window }) => window !== null)
    for (const which of [
      { layer: 0, head: 0 },
      { layer: config.numLayers - 1, head: config.numHeads - 1 },
    ]) {
      await page.getByLabel("Layer").selectOption(String(which.layer))
      await page.getByLabel("Head").selectOption(String(which.head))
      await page.locator(".strongest").waitFor()
      const { data, shape } = await lm.attention(TEXT, which)
      const T = shape[0]!
      await choose(page, 12)
      const row = data.subarray(12 * T, 13 * T)
      const rows = await cells(page, ".strongest")
      expect(rows.length).toBe(8)
      const best = [...row].sort((a, b) => b - a)
      rows.forEach(([t, , weight], i) => {
        expectNear(weight!, 100 * row[Number(t)]!)
        expectNear(weight!, 100 * best[i]!)
      })
      const map = page.getByRole("button", { name: /^Attention of each token/ })
      await map.focus()
      await page.keyboard.press("ArrowLeft")
      await page.keyboard.press("ArrowLeft")
      const told = await page.locator(".map figcaption").innerText()
      expect(told).toMatch(/^Token 12 “.*” gives .* to token 10 “/)
      expectNear(told.match(/gives (\S+) %/)![1]!, 100 * row[10]!)
      await page.keyboard.press("ArrowUp")
      expect(await page.locator(".map figcaption").innerText()).toMatch(/^Token 11 /)
      const selected = page.getByRole("listbox").getByRole("option", { selected: true })
      await eventually(() => selected.getAttribute("id")).toBe("token-11")
    }
    await page.getByLabel("Layer").selectOption(String(local))
    await page.getByText(`a window of ${config.layers[local]!.window}, itself included`).waitFor()
    await page.getByLabel("Coloured by").selectOption("attention")
    await choose(page, 12)
    const colours = () =>
      tokensOf(page).evaluateAll((all) => {
        return all.map((each) => Number((each as HTMLElement).style.getPropertyValue("--share")))
      })
    await eventually(async () => Math.max(...(await colours()).slice(0, 13))).toBeGreaterThan(0.1)
    expect((await colours()).slice(13).every((share) => share === 0)).toBe(true)
    expect(errors).toEqual([])
  })

  test("looks at the open conversation through the chat template", async () => {
    const { page } = visited
    await page.locator('input[accept*="json"]').setInputFiles(importable(["A dog ran."]))
    await page.getByText("1 conversation added.").waitFor()
    await show(page, "#/chat/case-0")
    await page.locator(".turn").waitFor()
    await show(page, "#/look")
    await page.getByRole("button", { name: "Look at “Case 0”" }).click()
    const ids = lm.encode([{ role: "assistant", content: "A dog ran." }])
    await found(page, ids.length)
    const names = await tokensOf(page).allInnerTexts()
    expect(names.slice(0, -1).map((name) => name.replaceAll("·", " ").replaceAll("⏎", "\n"))).toEqual(
      ids.map((id) => lm.tokenizer!.piece(id, false)),
    )
    expect(await page.getByText("Bits per byte").count()).toBe(0)
  })

  test("shows hostile text as text, with what would not be seen", async () => {
    const { page, errors } = visited
    await lookAt(page, `<img src=x onerror="alert(1)"><script>alert(1)</script>\u202egnp\u200b\u00a0é🐶`)
    expect(await page.locator(".tokens img, .tokens script").count()).toBe(0)
    const shown = (await tokensOf(page).allInnerTexts()).join("")
    expect(shown).not.toMatch(/[\u202e\u200b\u00a0]/)
    expect(shown).toContain("<0xE2>")
    expect(errors).toEqual([])
  })

  test("says that a text is longer than the context, and cuts it only if that is agreed to", async () => {
    const { page } = visited
    await show(page, "#/models")
    await page.locator("input[webkitdirectory]").setInputFiles(STORYTELLER)
    await page.getByLabel(/^Context/).selectOption("1024")
    await page.getByRole("button", { name: "Load", exact: true }).click()
    await page.getByText("of 1,024 positions").waitFor()
    await show(page, "#/look")
    const text = "One day a cat sat on the mat. ".repeat(160)
    await page.getByLabel("Text", { exact: true }).fill(text)
    await page.getByRole("button", { name: "Look", exact: true }).click()
    const alert = page.getByRole("alert").filter({ hasText: `${lm.encode(text).length.toLocaleString("en")} tokens` })
    await alert.getByText("a context of 1,024.").waitFor()
    expect(await tokensOf(page).count()).toBe(0)
    await alert.getByRole("button", { name: "Look at the first 1,024" }).click()
    await page.getByRole("listbox").waitFor()
    expect(await tokensOf(page).count()).toBe(1024 + 1)
  })

  test("has no serious barrier, light and dark, wide and narrow", async () => {
    const { page, context } = await visit(browser, site, { bypassCSP: true })
    await ready(page)
    await lookAt(page, TEXT)
    await choose(page, 7)
    for (const colorScheme of ["light", "dark"] as const) {
      for (const width of [1280, 390]) {
        await page.emulateMedia({ colorScheme })
        await page.setViewportSize({ width, height: 800 })
        expect(await violations(page), `${colorScheme}, ${width} pixels`).toEqual([])
        expect(await overflow(page), `${colorScheme}, ${width} pixels`).toBeLessThanOrEqual(0)
      }
    }
    await context.close()
  })
})
