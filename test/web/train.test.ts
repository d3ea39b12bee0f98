import { execFile } from "node:child_process"
import { mkdir, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import type { Page } from "playwright-core"
import { expect, onTestFinished, test } from "vitest"
import { violations } from "./axe.ts"
import { answers, beforeEngine, greedy, KEEP_DEVICE, loseDevice, PATIENCE, ready, say, usePage } from "./chromium.ts"
import { storedTurns } from "./stored.ts"

const open = usePage()

const STEPS = 20
const TOKENS = 24
const ANIMALS = ["fox", "owl", "bear", "frog", "duck", "cat", "hen", "mole"]
const THINGS = ["boat", "drum", "kite"]
/** Of 24, one of which is held out. */
const EXAMPLES = ANIMALS.flatMap((animal) =>
  THINGS.map((thing) =>
    JSON.stringify({ text: `The ${animal} had a red ${thing}. The ${animal} gave it to Zorblax.` }),
  ),
).join("\n")

/** Lets the page take its time with each save, so that a run of a few steps can be met in its middle. */
async function slowly(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const own = StorageManager.prototype.getDirectory
    StorageManager.prototype.getDirectory = async function () {
      await new Promise((resolve) => setTimeout(resolve, 250))
      return own.call(this)
    }
  })
  await page.reload()
}

type Method = "lora" | "lamda"

/** Fills the form and has the run weighed. */
async function weigh(page: Page, method: Method): Promise<void> {
  await page.getByRole("link", { name: "Fine-tune" }).click()
  await page.getByRole("textbox", { name: /^Examples/ }).fill(EXAMPLES)
  await page.getByRole("textbox", { name: "Name", exact: true }).fill(`Zorblax by ${method}`)
  await page.getByRole("combobox", { name: /^Method/ }).selectOption(method)
  const numbers = { Rank: 4, Steps: STEPS, "Rows a step": 1, "Tokens a row": 32, "Learning rate": 0.002 }
  for (const [name, value] of Object.entries(numbers)) await page.getByLabel(name).fill(String(value))
  await page.getByText("24 examples.").waitFor()
  await page.getByRole("button", { name: "See what it takes" }).click()
  await page.getByRole("row", { name: /^Together, at most \d/ }).waitFor()
}

async function start(page: Page, method: Method): Promise<void> {
  await weigh(page, method)
  await page.getByRole("button", { name: "Start training" }).click()
}

/** Waits until so many steps are made. */
async function reach(page: Page, step: number): Promise<void> {
  const bar = page.getByRole("progressbar", { name: /^Training of/ })
  const made = () => bar.evaluate((element) => (element as HTMLProgressElement).value)
  await expect.poll(made, { timeout: PATIENCE }).toBeGreaterThanOrEqual(step)
}

async function goOn(page: Page, label = "Go on"): Promise<void> {
  await page.getByRole("button", { name: label, exact: true }).click()
}

/** Waits for the end of a run. */
async function finish(page: Page): Promise<void> {
  await page.getByText(`It is done: ${STEPS} steps.`).waitFor({ timeout: 3 * PATIENCE })
}

/** A file of the adapter that is shown. */
async function kept(page: Page, name: string): Promise<Buffer> {
  const bytes = await page.evaluate(async (name) => {
    let folder = await navigator.storage.getDirectory()
    for (const part of ["gemlet", "adapters", location.hash.split("/")[2]!]) {
      folder = await folder.getDirectoryHandle(part)
    }
    const file = await (await folder.getFileHandle(name)).getFile()
    return Array.from(new Uint8Array(await file.arrayBuffer()))
  }, name)
  return Buffer.from(bytes)
}

const weights = (page: Page) => kept(page, "adapter_model.safetensors")

/** First and last of a line of the chart, as a screen reader hears them. */
async function losses(page: Page, name: string): Promise<[first: number, last: number]> {
  const label = await page.getByRole("img", { name: /^Loss by step/ }).getAttribute("aria-label")
  const [, first, last] = new RegExp(`${name}: from ([\\d.]+) at \\d+ to ([\\d.]+) at ${STEPS}`).exec(label!)!
  return [Number(first), Number(last)]
}

async function expectLearnt(page: Page): Promise<void> {
  for (const name of ["its mean", "held-out"]) {
    const [first, last] = await losses(page, name)
    expect(last, name).toBeLessThan(0.8 * first)
  }
}

/** The command line's greedy text with the adapter that the page shows. */
async function cliText(page: Page, prompt: string): Promise<string> {
  const folder = join(tmpdir(), `gemlet-train-${process.pid}`)
  onTestFinished(() => rm(folder, { recursive: true }))
  await mkdir(folder, { recursive: true })
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    await writeFile(join(folder, name), await kept(page, name))
  }
  const args = ["generate", prompt, "--adapter", folder, "--json", "--greedy", "-n", String(TOKENS)]
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", "cli/main.ts", ...args])
  return (JSON.parse(stdout) as { text: string }).text
}

/** Holds what the page says with the adapter that it shows to the command line's text with its files. */
async function expectSameAnswer(page: Page): Promise<void> {
  const expected = await cliText(page, "The fox")
  await page.getByRole("button", { name: "Chat with it" }).click()
  await greedy(page, TOKENS, "text")
  await say(page, "The fox")
  await answers(page)
  expect((await storedTurns(page))[1]).toBe(expected)
}

test(
  "a run of LoRA lowers the loss, and one that is paused, closed and loses its device ends the same, to the bit",
  async () => {
    const { page, errors } = await open({ bypassCSP: true })
    await beforeEngine(page, KEEP_DEVICE)
    await slowly(page)
    await ready(page)
    await start(page, "lora")
    await finish(page)
    await expectLearnt(page)
    expect(await violations(page)).toEqual([])
    const whole = await weights(page)
    await expectSameAnswer(page)
    expect(errors).toEqual([])

    await start(page, "lora")
    await page.getByRole("button", { name: "Pause" }).click()
    await page.getByText(/It is paused at step [1-9]/).waitFor()
    await goOn(page)
    await reach(page, 6)
    await page.reload()
    await page.getByText(/It was interrupted; step \d+ of 20 is saved/).waitFor()
    await goOn(page)
    await reach(page, 12)
    await loseDevice(page)
    await page.getByRole("alert").getByText("The GPU was lost").waitFor()
    await goOn(page, "Bring the model back and go on")
    await finish(page)
    expect((await weights(page)).equals(whole)).toBe(true)
  },
  8 * PATIENCE,
)

test(
  "a run of LaMDA lowers the loss, and one that is closed in its middle ends the same, to the bit",
  async () => {
    const { page, errors } = await open()
    await slowly(page)
    await ready(page)
    await start(page, "lamda")
    await finish(page)
    await expectLearnt(page)
    const whole = await weights(page)
    await start(page, "lamda")
    await reach(page, 6)
    await page.reload()
    await goOn(page)
    await finish(page)
    expect((await weights(page)).equals(whole)).toBe(true)
    expect(errors).toEqual([])
  },
  4 * PATIENCE,
)

test("examples that are none are told with their line, and what was typed stays", async () => {
  const { page, errors } = await open({ bypassCSP: true })
  await ready(page)
  await page.getByRole("link", { name: "Fine-tune" }).click()
  const examples = page.getByRole("textbox", { name: /^Examples/ })
  const look = page.getByRole("button", { name: "See what it takes" })
  await examples.fill('{"text": "one"}\n{"texts": "two"}')
  await page.getByRole("alert").getByText('examples, line 2: record has "texts"').waitFor()
  expect(await look.isDisabled()).toBe(true)
  await examples.fill('{"text": "one"}\n{"text": ')
  await page.getByRole("alert").getByText("examples, line 2: text is malformed, expected JSON").waitFor()
  expect(await violations(page)).toEqual([])
  await examples.fill("One text.\n\nAnother,\nof two lines.")
  await page.getByText("2 examples.").waitFor()

  const file = (name: string, text: string) => ({ name, mimeType: "text/plain", buffer: Buffer.from(text) })
  const picker = page.getByLabel("Files of examples")
  await picker.setInputFiles([file("a.jsonl", '{"text": "one"}\n'), file("b.jsonl", '\n{"messages": []}\n')])
  await page.getByRole("alert").getByText("b.jsonl, line 2: messages is [], expected at least one").waitFor()
  await picker.setInputFiles([file("a.jsonl", '{"prompt": "one", "completion": " two"}\n')])
  await page.getByText("1 example.").waitFor()
  await page.getByRole("button", { name: "Take them away" }).click()
  await page.getByText("2 examples.").waitFor()

  await page.getByRole("textbox", { name: "Name", exact: true }).fill("Two")
  await page.getByLabel("Rank").fill("1000") // more than the model's matrices have
  await page.getByRole("combobox", { name: /^Method/ }).selectOption("lamda")
  await look.click()
  await page.getByRole("alert").getByText(/rank/).waitFor()
  expect(await examples.inputValue()).toMatch(/^One text/)
  await page.getByLabel("Rank").fill("2")
  await look.click()
  await page.getByRole("row", { name: /^Together, at most \d/ }).waitFor()
  expect(await violations(page)).toEqual([])
  await page.getByRole("button", { name: "Back" }).click()
  await page.getByRole("link", { name: "New conversation" }).click()
  await say(page, "Tell me a story about Lily.")
  await answers(page)
  expect((await storedTurns(page))[1]).not.toBe("")
  expect(errors).toEqual([])
})

test(
  "a run stops where there is no room, and goes on; the chat offers to pause it, and another tab leaves it alone",
  async () => {
    const { page, context } = await open()
    await slowly(page)
    await ready(page)
    await start(page, "lora")
    await reach(page, 6) // it has been saved once
    const session = await context.newCDPSession(page)
    const { origin } = new URL(page.url())
    const usage = await page.evaluate(async () => (await navigator.storage.estimate()).usage!)
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: usage + 100_000 })
    await page.getByRole("alert").getByText("There is not enough room on this device").waitFor()
    await page.getByText(/What was learnt up to step \d+ of 20 is kept/).waitFor()
    await session.send("Storage.overrideQuotaForOrigin", { origin })
    await goOn(page)
    await page.getByText("It is being trained.").waitFor()
    const other = await context.newPage()
    await other.goto(page.url())
    await other.getByText("It is being trained in another tab").waitFor()
    expect(await other.getByRole("button", { name: "Go on", exact: true }).count()).toBe(0)
    await page.getByRole("link", { name: "New conversation" }).click()
    await page.getByText("The model is being trained: Zorblax by lora").waitFor()
    await page.locator(".composer textarea").fill("Hello")
    expect(await page.getByRole("button", { name: "Send" }).isDisabled()).toBe(true)
    await page.getByRole("button", { name: "Pause it to go on here" }).click()
    await page.getByRole("button", { name: "Send" }).click()
    await answers(page)
    expect(await storedTurns(page)).toHaveLength(2)
    await other.getByText(/It is paused at step \d+ of 20/).waitFor()
  },
  4 * PATIENCE,
)
