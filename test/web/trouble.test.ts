import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { answers, beforeEngine, greedy, KEEP_DEVICE, loseDevice, ready, say, startAnswer, usePage } from "./chromium.ts"
import { importable, stored, storedTurns } from "./stored.ts"

const STORYTELLER = fileURLToPath(new URL("../../weights/storyteller", import.meta.url))

/** Makes the engine's device say that it has no memory left. */
const NO_MEMORY = `device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", {
  error: new GPUOutOfMemoryError("no room for this buffer") }))`

const open = usePage()

describe("without WebGPU", () => {
  test("the page says which browsers have it, and conversations can be read", async () => {
    const { page, errors } = await open()
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "gpu", { value: undefined }))
    await page.reload()
    const card = page.getByRole("alert")
    await card.getByText("This browser gives the page no GPU").waitFor()
    expect(await card.innerText()).toMatch(/Chrome[\s\S]*Safari[\s\S]*Firefox/)
    await page.locator('input[accept*="json"]').setInputFiles(importable(["kept **text**"]))
    await page.getByText("Case 0").click()
    expect(await page.locator(".markdown strong").innerText()).toBe("text")
    expect(await page.getByRole("button", { name: "Send" }).isDisabled()).toBe(true)
    expect(errors).toEqual([])
  })

  test("an adapter that is missing is told in the same words", async () => {
    const { page } = await open()
    await beforeEngine(page, "navigator.gpu.constructor.prototype.requestAdapter = async () => null")
    await page.getByRole("alert").getByText("This browser gives the page no GPU").waitFor()
  })
})

describe("a device that is lost", () => {
  test("in an answer is told, and the model comes back with the conversation", async () => {
    const { page } = await open()
    await beforeEngine(page, KEEP_DEVICE)
    await ready(page)
    await startAnswer(page)
    await loseDevice(page)
    await page.getByRole("alert").getByText("The GPU was lost").waitFor()
    await answers(page)
    const [before] = await stored(page)
    expect(before!.turns[1]!.facts!.ending).toBe("failed")
    expect(before!.turns[1]!.text.length).toBeGreaterThan(20) // what had come is kept
    await page.getByRole("button", { name: "Bring the model back" }).click()
    await ready(page)
    await greedy(page, 16)
    await page.getByRole("button", { name: "Answer anew", exact: true }).click()
    await answers(page)
    const [after] = await stored(page)
    expect(after!.turns[1]!.facts!.ending).toBe("length")
    const both = Math.min(before!.turns[1]!.text.length, after!.turns[1]!.text.length)
    expect(after!.turns[1]!.text.slice(0, both)).toBe(before!.turns[1]!.text.slice(0, both))
  })

  test("while nobody asks anything is told at once, with what was typed still there", async () => {
    const { page, errors } = await open()
    await beforeEngine(page, KEEP_DEVICE)
    await ready(page)
    await page.locator(".composer textarea").fill("Half a thou")
    await loseDevice(page)
    await page.getByRole("alert").getByText("The GPU was lost").waitFor()
    expect(await page.locator(".composer textarea").inputValue()).toBe("Half a thou")
    expect(await page.getByRole("button", { name: "Send" }).isDisabled()).toBe(true)
    await page.getByRole("button", { name: "Bring the model back" }).click()
    await page.getByText("The model is back.").waitFor()
    await ready(page)
    expect(await page.getByRole("alert").count()).toBe(0)
    expect(errors).toEqual([])
  })
})

describe("a GPU without enough memory", () => {
  test("for the weights is told, with what would be smaller", async () => {
    const { page } = await open()
    const first = `{ const own = GPUDevice.prototype.createBuffer
      let made = 0
      GPUDevice.prototype.createBuffer = function (descriptor) {
        const device = this
        if (++made === 40) ${NO_MEMORY}
        return own.call(this, descriptor)
      } }`
    await beforeEngine(page, first)
    const card = page.getByRole("alert")
    await card.getByText("The GPU has not enough memory").waitFor()
    expect(await card.innerText()).toMatch(/shorter context, or weights in 4 bits/)
    await card.getByRole("link", { name: "Choose another" }).click()
    await page.getByRole("heading", { name: "Another model" }).waitFor()
    await page.unroute(/assets\/script-/)
    await card.getByRole("button", { name: "Try again" }).click()
    await page.getByText("GPU memory in all").waitFor()
  })

  test("for an answer is told, keeps what has come, and the model can be had again", async () => {
    const { page } = await open()
    await beforeEngine(page, KEEP_DEVICE)
    await ready(page)
    await startAnswer(page)
    await page.workers()[0]!.evaluate(NO_MEMORY)
    await page.getByRole("alert").getByRole("heading", { name: "The GPU has not enough memory" }).waitFor()
    await answers(page)
    const [, answer] = (await stored(page))[0]!.turns
    expect(answer!.facts!.ending).toBe("failed")
    expect(answer!.text.length).toBeGreaterThan(20)
    await page.getByRole("button", { name: "Try again" }).click()
    await ready(page)
  })
})

test("a hidden tab, which draws no frames, has the whole answer; storage that is full is told, and the answer stays", async () => {
  const { page, errors } = await open()
  await ready(page)
  await startAnswer(page, 200)
  const draw = await page.evaluateHandle(() => requestAnimationFrame)
  await page.evaluate(() => {
    globalThis.requestAnimationFrame = () => 0
  })
  const [shown] = await answers(page)
  const [, answer] = (await stored(page))[0]!.turns
  expect(answer!.facts!.ending).toMatch(/^(eos|length)$/)
  expect(shown!.replace(/\s+/g, " ")).toBe(answer!.text.trim().replace(/\s+/g, " "))

  await page.evaluate((own) => {
    globalThis.requestAnimationFrame = own
    IDBObjectStore.prototype.put = () => {
      throw new DOMException("full", "QuotaExceededError")
    }
  }, draw)
  await greedy(page, 12)
  await say(page, "Tell me a story about Lily.")
  await page.getByRole("alert").getByText("There is no room left on this device").waitFor()
  expect((await answers(page))[1]!.length).toBeGreaterThan(0)
  expect(await page.getByRole("alert").count()).toBe(1)
  expect(errors).toEqual([])
})

describe("a model of the visitor's own", () => {
  test("from a folder tells what it needs, loads and answers as the same files of the page", async () => {
    const { page, errors } = await open()
    await ready(page)
    await greedy(page, 16)
    await page.getByRole("link", { name: "Models" }).click()
    await page.locator("input[webkitdirectory]").setInputFiles(STORYTELLER)
    await page.getByRole("heading", { name: "storyteller" }).last().waitFor()
    const rows = page.getByRole("row")
    await rows.filter({ hasText: "4 bits" }).getByText("MiB").first().waitFor()
    await page.locator("select").selectOption("1024")
    await rows.filter({ hasText: "as stored" }).getByText("7.1 MiB").waitFor()
    await page.getByRole("button", { name: "Load", exact: true }).click()
    await page.getByText("of 1,024 positions").waitFor()
    await say(page, "Tell me a story about Lily.")
    await answers(page)
    expect((await storedTurns(page))[1]).toMatch(/^Once upon a time, there was a little girl named Lily/)
    expect(errors).toEqual([])
  })

  test("that is no model is refused in words, and the one that is there stays", async () => {
    const { page } = await open()
    await ready(page)
    await page.getByRole("link", { name: "Models" }).click()
    const file = { name: "config.json", mimeType: "application/json", buffer: Buffer.from("{ not JSON") }
    await page.locator('input[aria-label="A checkpoint\'s files"]').setInputFiles(file)
    await page
      .getByRole("alert")
      .getByText(/config\.json/)
      .waitFor()
    await page.getByRole("link", { name: "New conversation" }).click()
    await ready(page)
  })
})
