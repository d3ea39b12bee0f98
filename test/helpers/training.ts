import { afterAll, afterEach, beforeAll, expect } from "vitest"
import {
  type Folder,
  type LanguageModel,
  type LoadOptions,
  load,
  memoryStore,
  randomCheckpoint,
  type TuneOptions,
  type TuneStep,
  type Tuning,
  tune,
} from "../../src/index.ts"
import { testDeviceKind } from "./device.ts"
import { STORIES, STORYTELLER } from "./stories.ts"

/** config.json of a Gemma 3 whose steps take milliseconds, for storyteller's tokens. */
export const TINY_GEMMA = {
  model_type: "gemma3_text",
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 16,
  vocab_size: 4096,
  sliding_window: 8,
  layer_types: ["sliding_attention", "full_attention"],
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

/** Some of storyteller's tokens. */
export const IDS = [2, 100, 200, 300, 400, 500, 600, 700]

/** A run of few steps on short rows. */
export const SHORT_RUN = { steps: 6, batch: 2, context: 24, rate: 1e-2, warmup: 1, heldOut: 2, seed: 3 }

/** Ways to train an adapter, each to be proved alike. */
export const ADAPTER_RUNS: Readonly<Record<string, TuneOptions>> = {
  lora: {},
  "rslora with patterns": { rslora: true, rankPattern: { q_proj: 6 }, alphaPattern: { "layers.1.mlp.up_proj": 3 } },
  dora: { dora: true, targets: ["q_proj", "down_proj"] },
  pissa: { init: "pissa" },
  lamda: { method: "lamda", eta: 1 }, // with four steps each of them freezes a column
  "lamda by spectrum": { method: "lamda", rank: 5, spectrum: { low: 2, high: 8 } },
  "lamda as released": { method: "lamda", init: "released" },
  sgd: { optimizer: "sgd", schedule: "linear" },
}

/** A checkpoint with storyteller's tokenizer and random weights, always the same. */
export function randomWeights(config: object, seed = 1): Promise<Folder> {
  return randomCheckpoint(config, { seed, tokenizer: STORYTELLER })
}

/** Goes through a run to its end, and has it give back what it took. */
export async function allSteps(tuning: Tuning): Promise<TuneStep[]> {
  const steps: TuneStep[] = []
  for await (const step of tuning) steps.push(step)
  tuning.dispose()
  return steps
}

/** Of steps, what another run must repeat to the bit. */
function told(steps: readonly TuneStep[]) {
  return steps.map(({ step, loss, heldOut, gradientNorm, trained }) => ({ step, loss, heldOut, gradientNorm, trained }))
}

/**
 * Expects a run that goes on to be the one that was never stopped, to the bit: from what the store held one step past the
 * checkpoint of the middle, as if the run had been killed then.
 *
 * @param model opens the model, as it is before a run
 * @returns the losses of all steps
 */
export async function expectToGoOn(model: () => Promise<LanguageModel>, options: TuneOptions): Promise<number[]> {
  const saveEvery = Math.floor(options.steps! / 2)
  const [whole, cut] = [memoryStore(), memoryStore()]
  const all: TuneStep[] = []
  const run = tune(await model(), STORIES, { ...options, store: whole, saveEvery })
  for await (const step of run) {
    all.push(step)
    if (step.step !== saveEvery + 1) continue
    expect(run.saved).toBe(saveEvery)
    for (const [name, bytes] of whole.files) await cut.write(name, [bytes])
  }
  run.dispose()
  const rest = await allSteps(tune(await model(), STORIES, { ...options, store: cut, saveEvery, resume: true }))
  expect(rest[0]!.step).toBe(saveEvery + 1)
  expect(told(rest)).toEqual(told(all.slice(-rest.length)))
  const weights = options.method === "full" ? "model.safetensors" : "adapter_model.safetensors"
  expect(cut.files.get(weights)).toEqual(whole.files.get(weights))
  return all.flatMap(({ loss }) => (loss === undefined ? [] : [loss]))
}

/** Opens a model: beside the others, or on a device of its own where `device` says which. */
export type OpenModel = (location?: Folder | string, options?: LoadOptions) => Promise<LanguageModel>

/**
 * Models on one GPU device, so that the shaders of a file's tests compile once. Each lives until its test ends.
 *
 * @returns what opens one
 */
export function modelsOnOneDevice(): OpenModel {
  const open: LanguageModel[] = []
  let first: LanguageModel
  beforeAll(async () => {
    first = await load(await randomWeights(TINY_GEMMA), { device: testDeviceKind(), context: 16 })
  })
  afterEach(async () => {
    for (const lm of open.splice(0)) await lm.dispose()
  })
  afterAll(() => first?.dispose())
  return async (location, options = {}) => {
    const lm = await load(location, { context: 64, ...("device" in options ? {} : { beside: first }), ...options })
    open.push(lm)
    return lm
  }
}
