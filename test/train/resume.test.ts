import { describe, expect, test } from "vitest"
import {
  GpuError,
  memoryFolder,
  memoryStore,
  readTrainingFile,
  type TuneOptions,
  type TuneStep,
  tune,
} from "../../src/index.ts"
import { internals } from "../../src/session.ts"
import { testDeviceKind } from "../helpers/device.ts"
import { STORIES } from "../helpers/stories.ts"
import {
  ADAPTER_RUNS,
  allSteps,
  expectToGoOn,
  modelsOnOneDevice,
  randomWeights,
  SHORT_RUN,
  TINY_GEMMA,
} from "../helpers/training.ts"

const open = modelsOnOneDevice()
const model = async (method?: TuneOptions["method"]) => {
  return open(await randomWeights(TINY_GEMMA), { dtype: method === "full" ? "f32" : undefined })
}
/** On a device that a test may destroy. */
const modelAlone = async () => open(await randomWeights(TINY_GEMMA), { device: testDeviceKind() })

const RUN: TuneOptions = { ...SHORT_RUN, steps: 4, rank: 4 }

describe("a run that goes on", () => {
  test.each(Object.entries({ ...ADAPTER_RUNS, full: { method: "full" as const } }))(
    "is to the bit the one that was never stopped: %s",
    async (_, options) => {
      await expectToGoOn(() => model(options.method), { ...RUN, evaluateEvery: 2, ...options })
    },
  )

  test("has the settings that it had", async () => {
    const store = memoryStore()
    const lm = await model()
    const settings: TuneOptions = { ...RUN, steps: 1, evaluateEvery: 0, store }
    await allSteps(tune(lm, STORIES, settings))
    const other = tune(lm, STORIES, { ...settings, rate: 1, resume: true })
    await expect(other.prepare()).rejects.toThrow("resume: rate is 1, expected 0.01 as before")
  })

  test("does so from its last checkpoint when the device is lost", async () => {
    const reference = await allSteps(tune(await model(), STORIES, RUN))
    const store = memoryStore()
    const first = await modelAlone()
    const tuning = tune(first, STORIES, { ...RUN, store, saveEvery: 2, reopen: modelAlone })
    const steps: TuneStep[] = []
    for await (const step of tuning) {
      steps.push(step)
      if (step.step === 3 && tuning.lm === first) internals(first).model.device.gpu.destroy()
    }
    expect(steps.map(({ step }) => step)).toEqual([0, 1, 2, 3, 3, 4])
    expect(steps.at(-1)!.loss).toBe(reference.at(-1)!.loss)
    expect(tuning.lm).not.toBe(first)
  })
})

describe("a run that ends early", () => {
  test("stops at a loss that is not finite, keeps the last checkpoint, and leaves the weights finite", async () => {
    const lm = await model()
    const store = memoryStore("store")
    const wild = tune(lm, STORIES, {
      ...RUN,
      rate: 1e30,
      maxNorm: 0,
      warmup: 1,
      schedule: "constant",
      store,
      saveEvery: 1,
    })
    await expect(allSteps(wild)).rejects.toThrow(
      /step \d: .* is (NaN|not finite|Infinity).*\(store holds the run as it was after step \d\)/,
    )
    expect(wild.saved).toBe(1) // its rate was 0
    const { state } = await readTrainingFile(memoryFolder("saved", new Map(store.files)))
    expect(state.step).toBe(1)
  })

  test("for want of room throws the store's own error, and keeps the last checkpoint", async () => {
    const kept = memoryStore("store")
    const full = new DOMException("no room", "QuotaExceededError")
    const store: typeof kept = {
      ...kept,
      write: (...args) => (kept.files.has("loss.svg") ? Promise.reject(full) : kept.write(...args)),
    }
    const tuning = tune(await model(), STORIES, { ...RUN, store, saveEvery: 1 })
    await expect(allSteps(tuning)).rejects.toBe(full)
    expect(tuning.saved).toBe(1)
    await allSteps(tune(await model(), STORIES, { ...RUN, store: kept, resume: true }))
  })

  test("without a way to open the model again a lost device is a GpuError", async () => {
    const lm = await modelAlone()
    const run = async () => {
      for await (const _ of tune(lm, STORIES, RUN)) internals(lm).model.device.gpu.destroy()
    }
    await expect(run()).rejects.toBeInstanceOf(GpuError)
  })

  test("an abort saves and ends", async () => {
    const store = memoryStore()
    const controller = new AbortController()
    const tuning = tune(await model(), STORIES, { ...RUN, store, saveEvery: 100, signal: controller.signal })
    const run = async () => {
      for await (const { step } of tuning) if (step === 2) controller.abort()
    }
    await expect(run()).rejects.toThrow(/abort/i)
    expect(tuning.saved).toBeGreaterThanOrEqual(2)
  })

  test("a store that fails keeps what it held", async () => {
    const store = memoryStore("disk")
    const full = { ...store, write: async () => Promise.reject(new Error("ENOSPC: no space left on device")) }
    await expect(allSteps(tune(await model(), STORIES, { ...RUN, store: full }))).rejects.toThrow(/ENOSPC/)
  })
})
