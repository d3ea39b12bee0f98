import { describe, expect, test } from "vitest"
import { memoryFolder, memoryStore, type TuneOptions, tune } from "../../src/index.ts"
import { expectClose } from "../helpers/compare.ts"
import { STORIES } from "../helpers/stories.ts"
import {
  ADAPTER_RUNS,
  allSteps,
  IDS,
  modelsOnOneDevice,
  randomWeights,
  SHORT_RUN,
  TINY_GEMMA,
} from "../helpers/training.ts"

const open = modelsOnOneDevice()
const model = async () => open(await randomWeights(TINY_GEMMA))

const RUN: TuneOptions = { ...SHORT_RUN, rank: 4 }

describe("tune", () => {
  test("lowers the loss, leaves the adapter on, and the base as it was to the bit without it", async () => {
    const lm = await model()
    const before = await lm.logits(IDS)
    const steps = await allSteps(tune(lm, STORIES, { ...RUN, steps: 14, rate: 2e-2 }))
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 15 }, (_, i) => i))
    expect(steps[0]).toMatchObject({ step: 0, steps: 14, heldOut: expect.any(Number) })
    expect(steps.at(-1)!.heldOut!).toBeLessThan(steps[0]!.heldOut! - 0.5)
    expect(steps.at(-1)!.loss!).toBeLessThan(steps[1]!.loss! - 0.5)
    expect(lm.adapters).toEqual([{ name: "tuned", on: true }])
    expect((await lm.logits(IDS)).data).not.toEqual(before.data)
    await lm.setAdapters([])
    expect((await lm.logits(IDS)).data).toEqual(before.data)
    await lm.setAdapters(["tuned"])
    await lm.removeAdapter("tuned")
    expect((await lm.logits(IDS)).data).toEqual(before.data)
  })

  test("lets the model answer between steps", async () => {
    const lm = await model()
    const texts = new Set<string>()
    for await (const _ of tune(lm, STORIES, { ...RUN, steps: 2, warmup: 0, rate: 0.1 })) {
      const answer = lm.generate(IDS, { maxTokens: 4, temperature: 0, ignoreEos: true })
      for await (const _ of answer);
      texts.add(answer.tokens.join())
    }
    expect(texts.size).toBeGreaterThan(1)
  })

  test.each(Object.entries(ADAPTER_RUNS))("writes a PEFT folder that loads to equal logits: %s", async (_, options) => {
    const store = memoryStore()
    const lm = await model()
    await allSteps(tune(lm, STORIES, { ...RUN, steps: 3, evaluateEvery: 0, ...options, store }))
    const trained = await lm.logits(IDS)
    await lm.removeAdapter("tuned")
    await lm.loadAdapter(memoryFolder("saved", new Map(store.files)), { name: "again" })
    expectClose((await lm.logits(IDS)).data, trained.data, { absolute: 2e-5 }, { what: "logits" })
    expect([...store.files.keys()].sort()).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
      "loss.svg",
      "training.safetensors",
    ])
  })

  test("accumulates over fewer rows at once to the gradient of the whole batch", async () => {
    const plain = { ...RUN, steps: 2, warmup: 0, evaluateEvery: 0 }
    const norms = await Promise.all(
      [4, 2, 1].map(async (rowsAtOnce) => {
        const steps = await allSteps(tune(await model(), STORIES, { ...plain, batch: 4, rowsAtOnce }))
        return steps.flatMap(({ loss, gradientNorm }) => [loss!, gradientNorm!])
      }),
    )
    for (const each of norms.slice(1)) expectClose(each, norms[0]!, { relative: 1e-5 }, { what: "loss and norm" })
  })

  test("computing layers again changes no bit", async () => {
    const runs = await Promise.all(
      [false, true].map(async (recompute) => allSteps(tune(await model(), STORIES, { ...RUN, steps: 3, recompute }))),
    )
    expect(runs[1]!.map(({ loss }) => loss)).toEqual(runs[0]!.map(({ loss }) => loss))
  })

  test("LaMDA freezes column by column, and gives their memory back", async () => {
    const lm = await model()
    const [rank, eta, total] = [4, 0.5, 10]
    const tuning = tune(lm, STORIES, { ...RUN, method: "lamda", rank, eta, steps: total, evaluateEvery: 0 })
    const { gradients, state } = await tuning.prepare()
    expect(lm.memory.training).toBe(0)
    const full = gradients + state + 100 // and the optimizer's settings
    const seen: { trained: number; bytes: number }[] = []
    for await (const { trained } of tuning) seen.push({ trained, bytes: lm.memory.training })
    const out = 32 + 16 + 16 + 32 + 48 + 48 + 32 // of q, k, v, o, gate, up, down
    expect(state).toBe(2 * 4 * 2 * (7 * rank ** 2 + rank * out))
    seen.forEach(({ trained }, i) => {
      const frozen = Math.min(rank, Math.floor((rank * i) / (eta * total)))
      expect(trained, `step ${i + 1}`).toBe(2 * (7 * rank ** 2 + (rank - frozen) * out))
    })
    const last = seen.at(-1)!
    expect(last.trained).toBe(2 * 7 * rank ** 2)
    expect(last.bytes).toBeLessThan(full / 5)
    for (const [i, { bytes }] of seen.entries()) expect(bytes).toBeLessThanOrEqual(seen[i - 1]?.bytes ?? full)
  })

  test("predicts the bytes that it takes", async () => {
    for (const options of [{}, { recompute: true }, { method: "lamda" as const }]) {
      const lm = await model()
      const tuning = tune(lm, STORIES, { ...RUN, steps: 1, context: 128, batch: 4, ...options })
      const { peak } = await tuning.prepare()
      await allSteps(tuning)
      expect(lm.memory.peak / peak).toBeGreaterThan(0.9)
      expect(lm.memory.peak / peak).toBeLessThan(1.1)
    }
  })

  test("refuses what does not fit, and says what would", async () => {
    const lm = await model()
    const big = { ...RUN, context: 256, batch: 8 }
    const probe = tune(lm, STORIES, big)
    const { peak, held } = await probe.prepare()
    probe.dispose()
    await lm.removeAdapter("tuned")
    const limit = held + (peak - held) * 0.2
    const refused = tune(lm, STORIES, { ...big, memoryLimit: limit }).prepare()
    await expect(refused).rejects.toThrow(/needs .* expected at most .* \(what would fit: recompute with \d row/)
    expect(lm.adapters).toEqual([])
    const message = await refused.then(String, (error: Error) => error.message)
    const advice = /recompute with (\d+) rows? at once of (\d+)/.exec(message)!
    const fitting = { ...big, rowsAtOnce: Number(advice[1]), context: Number(advice[2]), recompute: true }
    await tune(lm, STORIES, { ...fitting, memoryLimit: limit }).prepare()
  })

  test("names what cannot be", async () => {
    const lm = await model()
    const refused = (options: TuneOptions) => expect(() => tune(lm, STORIES, options))
    refused({ rank: 0 }).toThrow("rank: is 0, expected a whole number from 1 on")
    refused({ context: 4096 }).toThrow("context: is 4096, expected a whole number from 2 to 256")
    refused({ rate: Number.NaN }).toThrow("rate: is NaN, expected a number above 0")
    refused({ method: "lamda", dora: true }).toThrow(/dora: is on with lamda/)
    refused({ init: "svd-zero" }).toThrow(/init: is svd-zero, expected one of default/)
    const half = await open()
    await expect(allSteps(tune(half, STORIES, { ...RUN, method: "full" }))).rejects.toThrow(/is bf16, expected f32/)
    await expect(allSteps(tune(lm, STORIES, { ...RUN, targets: ["nothing"] }))).rejects.toThrow(/nothing/)
    await expect(allSteps(tune(lm, STORIES, { ...RUN, resume: true }))).rejects.toThrow(/store is missing/)
    expect(() => tune(lm, [])).toThrow(/expected/)
  })
})
