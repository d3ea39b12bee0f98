import { readFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import type { Locator, Page } from "playwright-core"
import { afterEach, beforeEach, expect, test } from "vitest"
import { fixture } from "../helpers/golden.ts"
import { FakeHub } from "../hub/fake_hub.ts"
import { answers, eventually, greedy, ready, say, usePage, type Visit } from "./chromium.ts"
import { type Site, serveSite } from "./site.ts"
import { storedTurns } from "./stored.ts"

const FOLDER = fixture("stories260K")
const MODEL = "model.safetensors"
const FILES = ["config.json", "generation_config.json", MODEL, "tokenizer.json", "tokenizer_config.json"]
const PROMPT = "Once upon a time"
const TOKENS = 48
const { greedy_text: GOLDEN } = JSON.parse(readFileSync(join(FOLDER, "golden.json"), "utf8")) as { greedy_text: string }

const open = usePage()
let site: Site
let hub: FakeHub
beforeEach(async () => {
  hub = await new FakeHub().start()
  for (const name of FILES) hub.files.set(name, await readFile(join(FOLDER, name)))
  site = await serveSite(hub.endpoint)
})
afterEach(async () => {
  await site[Symbol.asyncDispose]()
  await hub[Symbol.asyncDispose]()
})

/** A visit to the models, with the storyteller loaded and a Hub on this machine. */
async function arrive(): Promise<Visit> {
  const arrived = await open({}, site)
  await ready(arrived.page)
  await models(arrived.page)
  arrived.page.on("dialog", (dialog) => void dialog.accept())
  return arrived
}

async function models(page: Page): Promise<void> {
  await page.getByRole("link", { name: "Models" }).click()
}

/** Names a model of the Hub and waits for what it takes. */
async function look(page: Page): Promise<void> {
  await page.getByLabel("On the Hugging Face Hub").fill(hub.id)
  await page.getByRole("button", { name: "Look" }).click()
  await page.getByRole("row").filter({ hasText: "as stored" }).waitFor()
}

function entry(page: Page): Locator {
  return page.locator(".kept li").filter({ hasText: hub.id })
}

/** Holds the model's greedy text to the golden's. */
async function expectGolden(page: Page): Promise<void> {
  await page.getByText("of 512 positions").waitFor()
  await page.getByRole("link", { name: "New conversation" }).click()
  await greedy(page, TOKENS)
  await say(page, PROMPT)
  await answers(page)
  const texts = await storedTurns(page)
  const text = texts.at(-2)! + texts.at(-1)!
  expect(text.length).toBeGreaterThan(80)
  expect(text).toBe(GOLDEN.slice(0, text.length))
}

test("a model of the Hub is stopped, goes on after a reload over a connection that breaks, and loads without the Hub", async () => {
  const { page, errors } = await arrive()
  await look(page)
  hub.fail(MODEL, { slow: 50 })
  await page.getByRole("button", { name: "Download and load" }).click()
  const bar = page.getByLabel(`Download of ${hub.id}`)
  await eventually(() => bar.evaluate((element) => (element as HTMLProgressElement).value)).toBeGreaterThan(200_000)
  await eventually(() => entry(page).innerText()).toMatch(/ of 1\.0 MiB, .* KiB\/s, \d+ s left/)
  await page.getByRole("button", { name: "Stop", exact: true }).click()
  await entry(page).getByText("of 1.0 MiB are here").waitFor()
  await page.reload()
  await entry(page).getByText("of 1.0 MiB are here").waitFor()

  hub.log.length = 0
  hub.fail(MODEL, { drop: 300_000 })
  await page.getByRole("button", { name: `Go on with ${hub.id}` }).click()
  await entry(page).getByText("last used").waitFor()
  expect(hub.sent(MODEL)).toBeLessThan(hub.files.get(MODEL)!.length - 150_000)
  expect(hub.log.filter(({ server, range }) => server === "cdn" && range !== undefined)).toHaveLength(2)

  hub.goOffline()
  hub.log.length = 0
  await page.getByRole("button", { name: `Load ${hub.id}` }).click()
  await page.getByRole("button", { name: "Load", exact: true }).click()
  await expectGolden(page)
  await page.reload()
  await page.getByText("of 512 positions").waitFor() // the model of the last visit
  await models(page)
  await page.getByRole("button", { name: "Back to the storyteller" }).click()
  await page.goBack()
  await page.getByRole("button", { name: `Load ${hub.id}` }).click() // the model of the conversation
  await page.getByText("of 512 positions").waitFor()
  expect(hub.log).toEqual([])

  await models(page)
  await page.getByRole("button", { name: `Delete ${hub.id}` }).click()
  await page.getByText("None yet.").waitFor()
  await page.reload()
  await page.getByRole("link", { name: "storyteller" }).waitFor()
  expect(errors.filter((text) => !/Failed to load resource/.test(text))).toEqual([])
})

test("what goes wrong with a download is told in words, with the way on", async () => {
  const { page, context } = await arrive()
  const alert = entry(page).getByRole("alert")
  const again = page.getByRole("button", { name: "Try to go on" })
  await look(page)
  hub.fail(MODEL, { corrupt: 99 }, { corrupt: 99 })
  await page.getByRole("button", { name: "Download and load" }).click()
  await alert.getByText("The bytes that came are not the right ones").waitFor()

  const session = await context.newCDPSession(page)
  const { origin } = new URL(site.url)
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 500_000 })
  await again.click()
  await alert.getByText("There is not enough room for it").waitFor()
  await session.send("Storage.overrideQuotaForOrigin", { origin })

  hub.access = { status: 503 }
  await again.click()
  await alert.getByText(/answers 503/).waitFor()
  hub.access = undefined
  await again.click()
  await entry(page).getByText("last used").waitFor()
})

test("a gated model asks for a token in words, which goes to the Hub alone and stays only if the visitor says so", async () => {
  hub.access = { status: 401, code: "GatedRepo" }
  hub.token = "hf_secret"
  const { page, errors } = await arrive()
  const look = page.getByRole("button", { name: "Look" })
  const alert = page.getByRole("alert")
  const field = page.getByLabel("Access token")
  const keep = page.getByLabel("Keep the token on this device")
  expect(await field.isVisible()).toBe(false)
  await page.getByLabel("On the Hugging Face Hub").fill(hub.id)
  await look.click()
  await alert.getByText("The Hub does not let you read it").waitFor()
  const link = alert.getByRole("link", { name: `huggingface.co/${hub.id}` })
  expect(await link.getAttribute("href")).toBe(`https://huggingface.co/${hub.id}`)
  expect(await link.getAttribute("rel")).toBe("noopener noreferrer")
  await field.fill("hf_another")
  await look.click()
  await alert.getByText("access is gated and this token has none").waitFor()
  await field.fill(" hf_secret ")
  await look.click()
  await page.getByRole("row").filter({ hasText: "as stored" }).waitFor()
  await page.getByRole("button", { name: "Download and load" }).click()
  await page.getByText("512 positions", { exact: true }).waitFor()
  const storage = hub.log.filter(({ server }) => server === "cdn")
  expect(storage.length).toBeGreaterThan(0)
  expect(storage.filter(({ token }) => token !== undefined)).toEqual([])

  await page.reload()
  await models(page)
  await page.getByText("For models that ask for a licence").click()
  expect(await field.inputValue()).toBe("")
  await field.fill("hf_secret")
  await keep.check()
  await page.reload()
  await page.getByText("An access token is set").click()
  expect(await field.inputValue()).toBe("hf_secret")
  await keep.uncheck()
  expect(await page.evaluate(() => Object.values(localStorage).join())).not.toContain("hf_secret")
  expect(errors.filter((text) => !/Failed to load resource/.test(text))).toEqual([])
})

test("a download waits for a network that is gone, in words, and goes on by itself", async () => {
  const { page, context } = await arrive()
  await look(page)
  hub.fail(MODEL, { slow: 50 })
  await page.getByRole("button", { name: "Download and load" }).click()
  const bar = page.getByLabel(`Download of ${hub.id}`)
  await eventually(() => bar.evaluate((element) => (element as HTMLProgressElement).value)).toBeGreaterThan(200_000)
  await context.setOffline(true)
  await entry(page).getByText("there is no network").waitFor()
  await page.getByText("There is no network now.").waitFor()
  await new Promise((done) => setTimeout(done, 1000))
  expect(await entry(page).getByText("last used").count()).toBe(0)
  await context.setOffline(false)
  await page.getByText("512 positions", { exact: true }).waitFor()
  expect(await page.getByText("There is no network now.").count()).toBe(0)
})

test("a folder that was picked can be kept, and is there after a reload with the golden's tokens", async () => {
  const { page, errors } = await arrive()
  await page.locator("input[webkitdirectory]").setInputFiles(FOLDER)
  await page.getByLabel("Keep it on this device").check()
  await page.getByRole("button", { name: "Keep and load" }).click()
  await page.getByRole("link", { name: "stories260K" }).waitFor()
  await page.reload()
  await page.getByRole("link", { name: "stories260K" }).waitFor()
  await page.goto(site.url)
  await expectGolden(page)
  expect(hub.log).toEqual([])
  expect(errors).toEqual([])
})
