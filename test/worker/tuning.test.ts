import { afterAll, beforeAll, expect, test } from "vitest"
import {
  blobSource,
  type DataRecord,
  type Dataset,
  GpuError,
  type LanguageModel,
  memoryStore,
  openDataset,
  tune,
} from "../../src/index.ts"
import { tune as tuneInWorker } from "../../src/worker/index.ts"
import type { WorkerLanguageModel } from "../../src/worker/worker_model.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { STORIES } from "../helpers/stories.ts"
import { connect, drain, spied } from "./helpers.ts"

const device = testDeviceKind()
const OPTIONS = { rank: 4, steps: 3, batch: 1, context: 32, rate: 1e-2, warmup: 0, evaluateEvery: 1 }
const { part, models } = spied()
const { engine } = connect(part)
let lm: WorkerLanguageModel
let direct: LanguageModel
let expected: { losses: (number | undefined)[]; heldOut: (number | undefined)[] }

beforeAll(async () => {
  lm = await engine.load(undefined, { device, context: 64 })
  direct = models[0]! // the session at the other end
  const tuning = tune(direct, STORIES, OPTIONS)
  const steps = await drain(tuning)
  expected = { losses: steps.map(({ loss }) => loss), heldOut: steps.map(({ heldOut }) => heldOut) }
  tuning.dispose()
  await direct.removeAdapter("tuned")
})
afterAll(() => engine.terminate())

test("tune takes the steps of the session, tells of them, and answers in between", async () => {
  const store = memoryStore()
  const tuning = tuneInWorker(lm, STORIES, { ...OPTIONS, store })
  const plan = await tuning.prepare()
  expect(plan.peak).toBeGreaterThan(lm.memory.total)
  expect(tuning.settings).toMatchObject({ method: "lora", steps: 3 })
  const losses: (number | undefined)[] = []
  const heldOut: (number | undefined)[] = []
  for await (const step of tuning) {
    losses.push(step.loss)
    heldOut.push(step.heldOut)
    expect(tuning.step).toBe(step.step)
    await lm.score("Once there was a fox")
  }
  expect(losses).toEqual(expected.losses)
  expect(heldOut).toEqual(expected.heldOut)
  expect(tuning.curve.map(({ loss }) => loss)).toEqual(expected.losses)
  expect(tuning.saved).toBe(3)
  expect([...store.files.keys()]).toContain("adapter_model.safetensors")
  expect(lm.adapters).toEqual([{ name: "tuned", on: true }])
  const { modules } = await tuning.adapter()
  expect(modules.size).toBeGreaterThan(0)
  const training = lm.memory.training
  await tuning.dispose()
  expect(lm.memory.training).toBeLessThan(training)
  await lm.removeAdapter("tuned")

  await lm.loadAdapter(store, { name: "saved" })
  expect(lm.adapters).toEqual([{ name: "saved", on: true }])
  await lm.setAdapters([])
  expect(lm.adapters).toEqual([{ name: "saved", on: false }])
  await lm.removeAdapter("saved")
})

test("a run that is stopped saves, throws the signal's reason, and goes on from there", async () => {
  const store = memoryStore()
  const controller = new AbortController()
  const first = tuneInWorker(lm, STORIES, { ...OPTIONS, store, signal: controller.signal })
  const losses: (number | undefined)[] = []
  const running = (async () => {
    for await (const { step, loss } of first) {
      losses.push(loss)
      if (step === 1) controller.abort()
    }
  })()
  const error: unknown = await running.catch((error: unknown) => error)
  expect(error).toBe(controller.signal.reason)
  expect(first.saved).toBe(first.step)
  expect(first.step).toBeLessThan(3)
  await first.dispose()
  await lm.removeAdapter("tuned")
  const second = tuneInWorker(lm, STORIES, { ...OPTIONS, store, resume: true })
  for await (const { loss } of second) losses.push(loss)
  expect(losses).toEqual(expected.losses)
  expect(second.curve.map(({ loss }) => loss)).toEqual(expected.losses)
  await second.dispose()
  await lm.removeAdapter("tuned")
})

test("a run makes no step that nobody has asked for", async () => {
  const tuning = tuneInWorker(lm, STORIES, { ...OPTIONS, steps: 1 })
  for await (const { step } of tuning) {
    expect(step).toBe(0)
    break
  }
  await lm.score("Once there was a fox")
  expect(tuning.step).toBe(0)
  const rest = await drain(tuning)
  expect(rest.at(-1)!.loss).toBe(expected.losses[1])
  await tuning.dispose()
  await lm.removeAdapter("tuned")
})

test("records may lie in files, or in a dataset of the page's", async () => {
  const text = STORIES.map((record) => `${JSON.stringify(record)}\n`).join("")
  const file = new File([text], "stories.jsonl")
  const read: number[] = []
  const opened = await openDataset([{ name: file.name, source: blobSource(file) }])
  const dataset: Dataset = {
    ...opened,
    read: (index): Promise<DataRecord> => {
      read.push(index)
      return opened.read(index)
    },
  }
  for (const data of [[file], dataset]) {
    const tuning = tuneInWorker(lm, data, { ...OPTIONS, steps: 1 })
    expect((await drain(tuning)).map(({ loss }) => loss)).toEqual(expected.losses.slice(0, 2))
    await tuning.dispose()
    await lm.removeAdapter("tuned")
  }
  expect(read.length).toBeGreaterThan(1)
  const bad = new File(['{"text": "a"}\n{"nothing": 1}\n'], "bad.jsonl")
  await expect(tuneInWorker(lm, [bad], OPTIONS).prepare()).rejects.toThrow(/bad.jsonl:2: record has "nothing"/)
  const messages = [{ role: "assistant", content: "I begin" }]
  const odd = { ...dataset, where: () => "page:7", read: async () => ({ messages }) }
  await expect(drain(tuneInWorker(lm, odd, { name: "odd" }))).rejects.toThrow(
    /page:7: messages\[0\] is the model's turn/,
  )
  await lm.removeAdapter("odd")
})

test("a run goes on from its last checkpoint with the model that the page gives it", async () => {
  const first = await engine.load(undefined, { device, context: 64 })
  const store = memoryStore()
  let files = 0
  const write: typeof store.write = async (file, chunks) => {
    if (++files === 5) throw new GpuError("lost", "device is gone") // as the second checkpoint is begun
    return store.write(file, chunks)
  }
  const options = { ...OPTIONS, store: { ...store, write }, saveEvery: 1, reopen: async () => lm }
  const tuning = tuneInWorker(first, STORIES, options)
  const steps = await drain(tuning)
  expect(tuning.lm).toBe(lm)
  expect(files).toBeGreaterThan(12)
  expect(steps.at(-1)!.loss).toBe(expected.losses.at(-1))
  expect(tuning.curve.map(({ step }) => step)).toEqual([0, 1, 2, 3])
  expect(lm.adapters).toEqual([{ name: "tuned", on: true }])
  await tuning.dispose()
  await lm.removeAdapter("tuned")
})

test("tune refuses as the session does", async () => {
  await expect(tuneInWorker(lm, STORIES, { steps: 0 }).prepare()).rejects.toThrow(
    /^steps: is 0, expected a whole number/,
  )
  await expect(tuneInWorker(lm, [], {}).prepare()).rejects.toThrow(RangeError)
  await expect(tuneInWorker(lm, STORIES, { ...OPTIONS, name: "big", memoryLimit: 1 }).prepare()).rejects.toThrow(
    /on the GPU/,
  )
})
