import { fileURLToPath } from "node:url"
import { afterEach, describe, expect, test } from "vitest"
import {
  GpuError,
  type LanguageModel,
  load,
  type MemoryStore,
  memoryFolder,
  memoryStore,
  randomCheckpoint,
  readTrainingFile,
  type TuneOptions,
  type TuneStep,
  type Tuning,
  tune,
} from "../../src/index.ts"
import { pathFolder } from "../../src/platform/node_files.ts"
import { internals } from "../../src/session.ts"
import { expectClose } from "../helpers/compare.ts"
import { testDeviceKind } from "../helpers/device.ts"

const STORYTELLER = pathFolder(fileURLToPath(new URL("../../weights/storyteller", import.meta.url)))
const CONFIG = {
  model_type: "gemma3_text",
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 16,
  vocab_size: 4096,
  sliding_window: 8,
  layer_types: ["sliding_attention", "full_attention", "sliding_attention"],
  max_position_embeddings: 256,
  rms_norm_eps: 1e-6,
  query_pre_attn_scalar: 16,
  rope_theta: 1e6,
  rope_local_base_freq: 1e4,
  hidden_activation: "gelu_pytorch_tanh",
  bos_token_id: 2,
  eos_token_id: 1,
  pad_token_id: 0,
  initializer_range: 0.2,
}
const STORIES = Array.from({ length: 24 }, (_, i) => ({
  text: `Once there was a ${["cat", "dog", "bird", "fox"][i % 4]} who liked to ${["run", "sing", "sleep"][i % 3]}. The end.`,
}))
const IDS = [2, 100, 200, 300, 400, 500, 600, 700]
const SHORT: TuneOptions = { steps: 6, batch: 2, context: 24, rate: 1e-2, warmup: 1, heldOut: 2, rank: 4, seed: 3 }

describe("tune", () => {
  const open: LanguageModel[] = []
  afterEach(async () => {
    for (const lm of open.splice(0)) await lm.dispose()
  })

  async function model(dtype?: "f32"): Promise<LanguageModel> {
    const folder = await randomCheckpoint(CONFIG, { seed: 1, tokenizer: STORYTELLER })
    const lm = await load(folder, { device: testDeviceKind(), context: 64, dtype })
    open.push(lm)
    return lm
  }

  async function all(tuning: Tuning): Promise<TuneStep[]> {
    const steps: TuneStep[] = []
    for await (const step of tuning) steps.push(step)
    return steps
  }

  async function folderOf(store: MemoryStore) {
    return memoryFolder("saved", new Map(store.files))
  }

  test("lowers the loss, leaves the adapter on, and the base as it was to the bit without it", async () => {
    const lm = await model()
    const before = await lm.logits(IDS)
    const steps = await all(tune(lm, STORIES, { ...SHORT, steps: 30 }))
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 31 }, (_, i) => i))
    expect(steps[0]).toMatchObject({ step: 0, steps: 30, heldOut: expect.any(Number) })
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
    for await (const _ of tune(lm, STORIES, { ...SHORT, rate: 0.1 })) {
      const answer = lm.generate(IDS, { maxTokens: 6, temperature: 0, ignoreEos: true })
      for await (const _ of answer);
      texts.add(answer.tokens.join())
    }
    expect(texts.size).toBeGreaterThan(1)
  })

  const METHODS: Record<string, TuneOptions> = {
    lora: {},
    "rslora with patterns": { rslora: true, rankPattern: { q_proj: 6 }, alphaPattern: { "layers.1.mlp.up_proj": 3 } },
    dora: { dora: true, targets: ["q_proj", "down_proj"] },
    pissa: { init: "pissa" },
    lamda: { method: "lamda", eta: 0.5 },
    "lamda by spectrum": { method: "lamda", rank: 5, spectrum: { low: 2, high: 8 } },
    "lamda as released": { method: "lamda", init: "released" },
    sgd: { optimizer: "sgd", schedule: "linear" },
  }

  test.each(Object.entries(METHODS))("writes a PEFT folder that loads to equal logits: %s", async (_, options) => {
    const store = memoryStore()
    const lm = await model()
    const tuning = tune(lm, STORIES, { ...SHORT, steps: 4, ...options, store })
    await all(tuning)
    const trained = await lm.logits(IDS)
    tuning.dispose()
    await lm.removeAdapter("tuned")
    await lm.loadAdapter(await folderOf(store), { name: "again" })
    expectClose((await lm.logits(IDS)).data, trained.data, { absolute: 2e-5 }, { what: "logits" })
    expect([...store.files.keys()].sort()).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
      "loss.svg",
      "training.safetensors",
    ])
  })

  test.each(Object.entries({ ...METHODS, full: { method: "full" as const } }))(
    "goes on from a checkpoint to the bit: %s",
    async (_, options) => {
      const settings = { ...SHORT, saveEvery: 3, ...options }
      const dtype = settings.method === "full" ? "f32" : undefined
      const whole = memoryStore()
      const reference = await all(tune(await model(dtype), STORIES, { ...settings, store: whole }))

      const cut = memoryStore()
      const stopped = tune(await model(dtype), STORIES, { ...settings, store: cut })
      for await (const { step } of stopped) if (step === 4) break // one step past the checkpoint, as if killed
      expect(stopped.saved).toBe(3)
      const rest = await all(tune(await model(dtype), STORIES, { ...settings, store: cut, resume: true }))
      expect(rest.map(({ step }) => step)).toEqual([4, 5, 6])
      expect(rest.map(({ loss }) => loss)).toEqual(reference.slice(-3).map(({ loss }) => loss))
      const file = settings.method === "full" ? "model.safetensors" : "adapter_model.safetensors"
      expect(cut.files.get(file)).toEqual(whole.files.get(file))
      await expect(
        all(tune(await model(dtype), STORIES, { ...settings, rate: 1, store: cut, resume: true })),
      ).rejects.toThrow("resume: rate is 1, expected 0.01 as before")
    },
  )

  test("accumulates over fewer rows at once to the gradient of the whole batch", async () => {
    const norms = await Promise.all(
      [4, 2, 1].map(async (rowsAtOnce) => {
        const steps = await all(tune(await model(), STORIES, { ...SHORT, steps: 2, batch: 4, rowsAtOnce }))
        return steps.slice(1).flatMap(({ loss, gradientNorm }) => [loss!, gradientNorm!])
      }),
    )
    for (const each of norms.slice(1)) expectClose(each, norms[0]!, { relative: 1e-5 }, { what: "loss and norm" })
  })

  test("computing layers again changes no bit", async () => {
    const runs = await Promise.all(
      [false, true].map(async (recompute) => all(tune(await model(), STORIES, { ...SHORT, recompute }))),
    )
    expect(runs[1]!.map(({ loss }) => loss)).toEqual(runs[0]!.map(({ loss }) => loss))
  })

  test("LaMDA freezes column by column, and gives their memory back", async () => {
    const lm = await model()
    const [rank, eta, total] = [4, 0.5, 16]
    const tuning = tune(lm, STORIES, { ...SHORT, method: "lamda", rank, eta, steps: total, evaluateEvery: 0 })
    const { gradients, state } = await tuning.prepare()
    expect(lm.memory.training).toBe(0)
    const full = gradients + state + 100 // and the optimizer's settings
    const seen: { trained: number; bytes: number }[] = []
    for await (const { trained } of tuning) seen.push({ trained, bytes: lm.memory.training })
    const out = 32 + 16 + 16 + 32 + 48 + 48 + 32 // of q, k, v, o, gate, up, down
    expect(state).toBe(2 * 4 * 3 * (7 * rank ** 2 + rank * out))
    seen.forEach(({ trained }, i) => {
      const frozen = Math.min(rank, Math.floor((rank * i) / (eta * total)))
      expect(trained, `step ${i + 1}`).toBe(3 * (7 * rank ** 2 + (rank - frozen) * out))
    })
    const last = seen.at(-1)!
    expect(last.trained).toBe(3 * 7 * rank ** 2)
    expect(last.bytes).toBeLessThan(full / 5)
    for (const [i, { bytes }] of seen.entries()) expect(bytes).toBeLessThanOrEqual(seen[i - 1]?.bytes ?? full)
  })

  test("predicts the bytes that it takes", async () => {
    for (const options of [{}, { recompute: true }, { method: "lamda" as const }]) {
      const lm = await model()
      const tuning = tune(lm, STORIES, { ...SHORT, context: 128, batch: 4, ...options })
      const { peak } = await tuning.prepare()
      await all(tuning)
      expect(lm.memory.peak / peak).toBeGreaterThan(0.9)
      expect(lm.memory.peak / peak).toBeLessThan(1.1)
    }
  })

  test("refuses what does not fit, and says what would", async () => {
    const lm = await model()
    const big = { ...SHORT, context: 256, batch: 8 }
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

  test("stops at a loss that is not finite, keeps the last checkpoint, and leaves the weights finite", async () => {
    const lm = await model()
    const store = memoryStore("store")
    const wild = tune(lm, STORIES, {
      ...SHORT,
      rate: 1e30,
      maxNorm: 0,
      warmup: 1,
      schedule: "constant",
      store,
      saveEvery: 1,
    })
    await expect(all(wild)).rejects.toThrow(
      /step \d: .* is (NaN|not finite|Infinity).*\(store holds the run as it was after step \d\)/,
    )
    expect(wild.saved).toBe(1) // its rate was 0
    const { state } = await readTrainingFile(await folderOf(store))
    expect(state.step).toBe(1)
  })

  test("goes on from the last checkpoint when the device is lost", async () => {
    const reference = await all(tune(await model(), STORIES, SHORT))
    const store = memoryStore()
    const first = await model()
    const tuning = tune(first, STORIES, { ...SHORT, store, saveEvery: 2, reopen: () => model() })
    const steps: TuneStep[] = []
    for await (const step of tuning) {
      steps.push(step)
      if (step.step === 3 && tuning.lm === first) internals(first).model.device.gpu.destroy()
    }
    expect(steps.map(({ step }) => step)).toEqual([0, 1, 2, 3, 3, 4, 5, 6])
    expect(steps.at(-1)!.loss).toBe(reference.at(-1)!.loss)
    expect(tuning.lm).not.toBe(first)
  })

  test("without a way to open the model again a lost device is a GpuError", async () => {
    const lm = await model()
    const run = async () => {
      for await (const _ of tune(lm, STORIES, SHORT)) internals(lm).model.device.gpu.destroy()
    }
    await expect(run()).rejects.toBeInstanceOf(GpuError)
  })

  test("an abort saves and ends", async () => {
    const store = memoryStore()
    const controller = new AbortController()
    const tuning = tune(await model(), STORIES, { ...SHORT, store, saveEvery: 100, signal: controller.signal })
    const run = async () => {
      for await (const { step } of tuning) if (step === 2) controller.abort()
    }
    await expect(run()).rejects.toThrow(/abort/i)
    expect(tuning.saved).toBeGreaterThanOrEqual(2)
  })

  test("a store that fails keeps what it held", async () => {
    const store = memoryStore("disk")
    const full = { ...store, write: async () => Promise.reject(new Error("ENOSPC: no space left on device")) }
    await expect(all(tune(await model(), STORIES, { ...SHORT, store: full }))).rejects.toThrow(/ENOSPC/)
  })

  test("names what cannot be", async () => {
    const lm = await model()
    const refused = (options: TuneOptions) => expect(() => tune(lm, STORIES, options))
    refused({ rank: 0 }).toThrow("rank: is 0, expected a whole number from 1 on")
    refused({ context: 4096 }).toThrow("context: is 4096, expected a whole number from 2 to 256")
    refused({ rate: Number.NaN }).toThrow("rate: is NaN, expected a number above 0")
    refused({ method: "lamda", dora: true }).toThrow(/dora: is on with lamda/)
    refused({ init: "svd-zero" }).toThrow(/init: is svd-zero, expected one of default/)
    const half = await load(undefined, { device: testDeviceKind(), context: 64 })
    open.push(half)
    await expect(all(tune(half, STORIES, { ...SHORT, method: "full" }))).rejects.toThrow(/is bf16, expected f32/)
    await expect(all(tune(lm, STORIES, { ...SHORT, targets: ["nothing"] }))).rejects.toThrow(/nothing/)
    await expect(all(tune(lm, STORIES, { ...SHORT, resume: true }))).rejects.toThrow(/store is missing/)
    expect(() => tune(lm, [])).toThrow(/expected/)
  })
})
