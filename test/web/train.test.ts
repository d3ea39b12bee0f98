import type { Page } from "playwright-core"
import { describe, expect, test } from "vitest"
import { beforeEngine, eventually, KEEP_DEVICE, loseDevice, ready, usePage } from "./chromium.ts"

const open = usePage()

const STEPS = 20
const ANIMALS = ["fox", "owl", "bear", "frog", "duck", "cat", "hen", "mole"]
const THINGS = ["boat", "drum", "kite"]
/** Of 24, one of which is held out. */
const EXAMPLES = ANIMALS.flatMap((animal) =>
  THINGS.map((thing) => JSON.stringify({ text: `The ${animal} had a red ${thing}. The ${animal} gave the ${thing} to Zorblax.` })),
).join("\n")

/** Fills the form and weighs the run. */
async function weigh(page: Page, method: "lora" | "lamda"): Promise<void> {
  await page.getByRole("link", { name: "Fine-tune" }).click()
  await page.getByLabel("Examples", { exact: true }).fill(EXAMPLES)
  await page.getByLabel("Name").fill(`Zorblax ${method}`)
  await page.getByLabel("Method").selectOption(method)
  for (const [name, value] of [
    ["Rank", 4],
    ["Steps", STEPS],
    ["Rows a step", 2],
    ["Tokens a row", 64],
    ["Learning rate", 0.002],
  ] as const) {
    await page.getByLabel(name).fill(String(value))
  }
  await page.getByText("24 examples.").waitFor()
  await page.getByRole("button", { name: "See what it takes" }).click()
  await page.getByRole("row", { name: /Together, at most/ }).waitFor()
}

async function train(page: Page, method: "lora" | "lamda"): Promise<void> {
  await weigh(page, method)
  await page.getByRole("button", { name: "Start training" }).click()
}

/** Waits until so many steps are made. */
async function reach(page: Page, step: number): Promise<void> {
  const bar = page.getByRole("progressbar", { name: /^Training of/ })
  await eventually(() => bar.evaluate((element) => (element as HTMLProgressElement).value)).toBeGreaterThanOrEqual(step)
}

/** Waits for the end, and gives what the run has made: losses by its chart, and the hash of its weights. */
async function finish(page: Page) {
  await page.getByText(`It is done: ${STEPS} steps.`).waitFor()
  const chart = await page.getByRole("img", { name: "Loss by step" }).getAttribute("aria-label")
  const [, first, last] = /its mean: from ([\d.]+) at 1 to ([\d.]+) at 20/.exec(chart!)!
  const sha256 = await page.evaluate(async () => {
    let folder = await navigator.storage.getDirectory()
    for (const name of ["gemlet", "adapters", location.hash.split("/")[2]!]) folder = await folder.getDirectoryHandle(name)
    const file = await (await folder.getFileHandle("adapter_model.safetensors")).getFile()
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()))
    return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")
  })
  return { first: Number(first), last: Number(last), sha256 }
}

describe("a run", () => {
  test("probe", async () => {
    const { page, errors } = await open()
    await ready(page)
    console.time("weigh")
    await train(page, "lora")
    console.timeEnd("weigh")
    await reach(page, 1)
    console.time("19 steps")
    console.log(await finish(page))
    console.timeEnd("19 steps")
    await page.screenshot({ path: "/tmp/t1_done.png" })
    expect(errors).toEqual([])
  })
})
