import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core"
import { afterAll, beforeAll, expect, onTestFinished } from "vitest"
import { type Site, serveSite } from "./site.ts"

const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]
/** A software adapter compiles the model's shaders at first, beside whatever else the machine does. */
export const PATIENCE = 120_000

/** `expect` of what is so sooner or later: a loaded machine is slow. */
export function eventually<T>(read: () => Promise<T>) {
  return expect.poll(read, { timeout: PATIENCE / 2 })
}

/** Waits until something is so, in a script too. */
export async function until(what: string, isSo: () => Promise<boolean>, patience = PATIENCE): Promise<void> {
  for (const end = performance.now() + patience; !(await isSo()); ) {
    if (performance.now() > end) throw new Error(`page: ${what} has not come in ${patience} ms`)
    await new Promise((done) => setTimeout(done, 50))
  }
}

/** Debian's Chromium, or the one that CHROMIUM names. */
export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS,
    ignoreDefaultArgs: ["--headless"],
  })
}

/** A page of a visitor who was never here, and what went wrong in it. */
export interface Visit {
  readonly page: Page
  readonly context: BrowserContext
  /** Errors, violations of the policy and messages of the console that tell of them. */
  readonly errors: string[]
}

/** The answers that have begun in a page, and those whose ends were waited for. */
interface Counted {
  begun: number
  seen: number
  /** Answers that were shown when something was said: one that is over before the page is drawn is never seen to begin. */
  shown: number
}

function countAnswers(): void {
  const counted: Counted = { begun: 0, seen: 0, shown: Number.POSITIVE_INFINITY }
  Object.assign(globalThis, { counted })
  // No function here may have a name: tsx would have it call one of its own, which is not there in the page.
  new MutationObserver((changes) => {
    const added = changes.flatMap(({ addedNodes }) => [...addedNodes]).filter((node) => node instanceof Element)
    counted.begun += added.filter((node) => node.matches(".turn.live") || node.querySelector(".turn.live")).length
  }).observe(document, { childList: true, subtree: true })
}

/** Opens a page without waiting for the model. */
export async function visit(browser: Browser, site: Site, options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await browser.newContext({ serviceWorkers: "block", ...options })
  context.setDefaultTimeout(PATIENCE)
  const page = await context.newPage()
  const errors: string[] = []
  page.on("pageerror", (error) => errors.push(String(error)))
  page.on("console", (message) => {
    if (message.type() === "error" || /Content.Security.Policy/i.test(message.text())) errors.push(message.text())
  })
  await page.addInitScript(countAnswers)
  await page.goto(site.url)
  return { page, context, errors }
}

/**
 * Opens a browser and serves the built page for the tests of a file.
 *
 * @returns what opens the page, or another `site`, as a visitor who was never here; the visit ends with its test
 */
export function usePage(): (options?: BrowserContextOptions, site?: Site) => Promise<Visit> {
  let browser: Browser
  let own: Site
  beforeAll(async () => {
    browser = await launch()
    own = await serveSite()
  })
  afterAll(async () => {
    await browser.close()
    await own[Symbol.asyncDispose]()
  })
  return async (options = {}, site = own) => {
    const visited = await visit(browser, site, options)
    onTestFinished(() => visited.context.close())
    return visited
  }
}

/** Puts a script before the engine's, in the place of what a real device does, and begins the page anew with that. */
export async function beforeEngine(page: Page, script: string): Promise<void> {
  await page.route(/assets\/script-/, async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: `${script};${await response.text()}` })
  })
  await page.reload()
}

/** For {@link beforeEngine}: the engine's device is `device` in its Worker. */
export const KEEP_DEVICE = `{ const own = GPUAdapter.prototype.requestDevice
  GPUAdapter.prototype.requestDevice = async function (...args) {
    return (globalThis.device = await own.apply(this, args))
  } }`

/** Takes the engine's device away, as a driver does that is begun anew. */
export async function loseDevice(page: Page): Promise<void> {
  await page.workers()[0]!.evaluate(() => (globalThis as unknown as { device: GPUDevice }).device.destroy())
}

/** Waits until a model is there to talk to. */
export async function ready(page: Page): Promise<void> {
  await page.getByText(/of GPU memory/).waitFor()
}

/** Sets sampling so that the likeliest token is taken, for so many tokens; a model without a template has but one mode. */
export async function greedy(page: Page, maxTokens: number, mode?: "chat" | "text"): Promise<void> {
  await page.getByRole("button", { name: "System text and sampling" }).click()
  await page.getByLabel("Temperature").fill("0")
  await page.getByLabel("Most tokens").fill(String(maxTokens))
  if (mode) await page.getByRole("combobox", { name: /^Mode/ }).selectOption(mode)
  await page.getByRole("button", { name: "Close", exact: true }).click()
}

/** Says something and does not wait for the answer. */
export async function say(page: Page, text: string): Promise<void> {
  await page.evaluate(() => {
    const { counted } = globalThis as unknown as { counted: Counted }
    counted.seen = counted.begun
    counted.shown = document.querySelectorAll(".turn.assistant").length
  })
  await page.locator(".composer textarea").fill(text)
  await page.keyboard.press("Enter")
}

/** Begins an answer of so many tokens, and waits until some of it is there. */
export async function startAnswer(page: Page, maxTokens = 1000): Promise<void> {
  await greedy(page, maxTokens)
  await say(page, "Tell me a story about Lily.")
  const text = page.locator(".turn.assistant .markdown").last() // it may end before anybody looks
  await eventually(async () => (await text.innerText()).length).toBeGreaterThan(20)
}

/** Waits for the end of an answer that nobody has waited for, be it to begin yet or over already, and gives the texts of all. */
export async function answers(page: Page): Promise<string[]> {
  const isEnded = () => {
    const { counted } = globalThis as unknown as { counted: Counted }
    const begun = counted.begun > counted.seen || document.querySelectorAll(".turn.assistant").length > counted.shown
    if (!begun || document.querySelector(".turn.live")) return false
    counted.seen = counted.begun
    counted.shown = Number.POSITIVE_INFINITY
    return true
  }
  await until("an answer's end", () => page.evaluate(isEnded))
  return answersShown(page)
}

/** The texts of the answers that the page shows now. */
export function answersShown(page: Page): Promise<string[]> {
  return page.locator(".turn.assistant .markdown").allInnerTexts()
}
