// Training runs whose figures docs/training.md quotes; each appends a row to bench/results/training.jsonl. Usage:
//   npm run bench:train -- curve --data tinystories_sample.jsonl.gz [--seed 0]     storyteller's shape from scratch
//   npm run bench:train -- tune --data fairytaleqa.jsonl.gz --method lora|lamda [--rank 16] [--rate 1e-3] [--steps 150]
//   npm run bench:train -- family --data tinystories_sample.jsonl.gz --family hgrn_bit|gemma3_text [--rate 4e-3]
//                                                                                  two families of 2.6 million parameters from scratch
//   npm run bench:train -- ranks --data tinystories_sample.jsonl.gz       what ranks cost storyteller, and what an initialiser gains
//   npm run bench:train -- compress --data tinystories_sample.jsonl.gz [--rate 2e-3] [--steps 600] [--method full|distill]
//                                                          storyteller at half its size, and what training gives back
//   npm run bench:train -- 270m                                                    LoRA on Gemma 3 270M's shape
// A run with --store DIR goes on from there when it was stopped. Add --device auto|gpu|software|lavapipe|swiftshader, and --out FILE.svg for the loss curve.
import { existsSync } from "node:fs"
import { appendFile, mkdir, readFile, rm, writeFile } from "node:fs/promises"
import { cpus } from "node:os"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import {
  compress,
  type Dataset,
  type DeviceKind,
  dataFiles,
  directoryStore,
  distill,
  inputMoments,
  isDataFile,
  type LanguageModel,
  load,
  memoryStore,
  open,
  openDataset,
  randomCheckpoint,
  type TuneOptions,
  type TuneStep,
  type Tuning,
  tune,
} from "../src/index.ts"
import { unpackRow } from "../src/kernels/ternary.ts"
import { pathFolder } from "../src/platform/node_files.ts"
import { internals } from "../src/session.ts"
import { lossCurveSvg } from "../src/train/curve.ts"
import { averageUpdates, loraParameters } from "../src/train/lamda.ts"
import { functionApproximation } from "../src/train/low_rank_init.ts"
import { Random } from "../src/train/random.ts"
import type { CurvePoint } from "../src/train/training_file.ts"
import { Tuning as Run } from "../src/train/tune.ts"
import { writeRandom270m } from "../test/helpers/random_270m.ts"
import { commit } from "./commit.ts"

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "auto" },
    data: { type: "string" },
    seed: { type: "string", default: "0" },
    family: { type: "string", default: "hgrn_bit" },
    method: { type: "string", default: "lora" },
    rank: { type: "string", default: "16" },
    rate: { type: "string", default: "1e-3" },
    steps: { type: "string" },
    init: { type: "string" },
    out: { type: "string" },
    store: { type: "string" },
  },
})
const device = values.device as DeviceKind
const seed = Number(values.seed)

async function dataset(path = values.data) {
  if (path === undefined) throw new RangeError("--data: is missing, expected a file")
  return openDataset(await dataFiles([path], isDataFile))
}

const TITLES = {
  curve: "storyteller's shape from random weights",
  tune: `storyteller on fairy tales, ${values.method}`,
  family: `${values.family}, 2.6 million parameters, from random weights`,
  compress: "storyteller at half its size",
  "270m": "Gemma 3 270M's shape",
}

/** Runs it to its end, telling of each measurement. */
async function follow(tuning: Tuning): Promise<{ steps: TuneStep[]; curve: CurvePoint[]; seconds: number }> {
  const began = performance.now()
  const steps: TuneStep[] = []
  for await (const step of tuning) {
    steps.push(step)
    if (step.heldOut === undefined && step.step % 10 !== 0) continue
    const { loss = Number.NaN, heldOut, tokensPerSecond } = step
    console.error(
      `${step.step} loss ${loss.toFixed(3)} held out ${heldOut?.toFixed(3) ?? ""} ${tokensPerSecond.toFixed(0)} tokens/s`,
    )
  }
  const seconds = (performance.now() - began) / 1000
  const { curve } = tuning
  if (values.out) {
    const training = curve.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }]))
    const heldOut = heldOutOf(curve).map(([step, loss]) => ({ step: step!, loss: loss! }))
    await writeFile(
      values.out,
      lossCurveSvg({ title: TITLES[positionals[0] as keyof typeof TITLES], training, heldOut }),
    )
  }
  return { steps, curve, seconds }
}

function heldOutOf(curve: readonly CurvePoint[]): number[][] {
  return curve.flatMap(({ step, heldOut }) => (heldOut === undefined ? [] : [[step, heldOut]]))
}

/** Where the run keeps itself, if that was asked for. */
function kept(): TuneOptions {
  if (!values.store) return {}
  return {
    store: directoryStore(values.store),
    saveEvery: 10,
    resume: existsSync(`${values.store}/training.safetensors`),
  }
}

const mean = (numbers: readonly number[]) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length

/** The run whose reference is in weights/storyteller/README.md: 300 steps from random weights. */
async function curve() {
  const weights = fileURLToPath(new URL("../weights/storyteller", import.meta.url))
  const config = JSON.parse(await readFile(`${weights}/config.json`, "utf8"))
  const tokenizer = pathFolder(weights)
  const folder = await randomCheckpoint(config, { seed, tokenizer })
  await tokenizer.close?.()
  const lm = await load(folder, { device, context: 64, dtype: "f32" })
  const data = await dataset()
  const part = (name: string, from: number, count: number) => {
    const { read, where } = data
    return {
      ...data,
      name,
      count,
      fingerprint: `${data.fingerprint} ${from}`,
      read: (i: number) => read(from + i),
      where: (i: number) => where(from + i),
    }
  }
  const options: TuneOptions = {
    method: "full",
    steps: Number(values.steps ?? 300),
    batch: 4,
    context: 512,
    rate: 2e-3,
    warmup: 50,
    schedule: "constant",
    betas: [0.9, 0.95],
    weightDecay: 0.1,
    maxNorm: 1,
    packing: "stream",
    shuffle: false,
    heldOut: part("held out", data.count - 100, 100),
    evaluateEvery: 50,
    seed,
    ...kept(),
  }
  const { curve, seconds } = await follow(tune(lm, part("first 3000", 0, 3000), options))
  const last = curve.slice(-50).map(({ loss }) => loss!)
  const heldOut = heldOutOf(curve)
  const { description } = lm.device
  await lm.dispose()
  return { run: "curve", device: description, seed, lastFiftySteps: mean(last), heldOut, seconds }
}

const TINY = { vocab_size: 4096, bos_token_id: 2, eos_token_id: 1, pad_token_id: 0, rms_norm_eps: 1e-6 }

/** 2.6 million parameters each, with storyteller's tokenizer. */
const FAMILIES: Readonly<Record<string, object>> = {
  hgrn_bit: { ...TINY, model_type: "hgrn_bit", hidden_size: 128, num_hidden_layers: 6, hidden_ratio: 4 },
  gemma3_text: {
    ...TINY,
    model_type: "gemma3_text",
    hidden_size: 192,
    intermediate_size: 576,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 1,
    head_dim: 64,
    query_pre_attn_scalar: 64,
    sliding_window: 64,
    layer_types: ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
    max_position_embeddings: 2048,
  },
}

/** A thousand steps on the same rows in the same order, whatever the family. */
async function family() {
  const tokenizer = pathFolder(fileURLToPath(new URL("../weights/storyteller", import.meta.url)))
  const folder = await randomCheckpoint(FAMILIES[values.family]!, { seed, tokenizer })
  await tokenizer.close?.()
  const lm = await load(folder, { device, context: 64, dtype: "f32" })
  const options: TuneOptions = {
    method: "full",
    steps: Number(values.steps ?? 1000),
    batch: 4,
    context: 128,
    rate: Number(values.rate),
    warmup: 50,
    schedule: "cosine",
    betas: [0.9, 0.95],
    maxNorm: 1,
    packing: "stream",
    heldOut: 32,
    evaluateEvery: 100,
    seed,
    ...kept(),
  }
  const before = await shareOfZeros(lm)
  const { curve, seconds } = await follow(tune(lm, await dataset(), options))
  const result = {
    run: "family",
    family: values.family,
    device: lm.device.description,
    parameters: lm.parameters.total,
    rate: options.rate,
    seed,
    lastFiftySteps: mean(curve.slice(-50).map(({ loss }) => loss!)),
    heldOut: heldOutOf(curve),
    zeros: { before, after: await shareOfZeros(lm) },
    seconds,
  }
  await lm.dispose()
  return result
}

const STORYTELLER = fileURLToPath(new URL("../weights/storyteller", import.meta.url))

/** The held-out loss of a model, in nats per token. */
async function heldOutLoss(lm: LanguageModel, data: Dataset, options: TuneOptions): Promise<number> {
  for await (const { heldOut } of tune(lm, data, options)) return heldOut!
  throw new RangeError("held out: nothing was measured")
}

/** The second moments of a model's inputs over the first stories. */
async function storyMoments(lm: LanguageModel, data: Dataset) {
  const texts = await Promise.all(Array.from({ length: 64 }, (_, i) => data.read(i)))
  return inputMoments(
    lm,
    texts.map((record) => lm.encode("text" in record ? record.text : "").slice(0, 512)),
  )
}

/** Storyteller at several ranks, plain and calibrated; and what function approximation gains on a random weight. */
async function ranks() {
  const data = await dataset()
  const options: TuneOptions = { method: "full", batch: 4, context: 128, heldOut: 32, heldOutFrom: "end", seed }
  const base = await load(undefined, { device, context: 512, dtype: "f32" })
  const moments = await storyMoments(base, data)
  const rows: object[] = [{ rule: "base", heldOut: await heldOutLoss(base, data, options) }]
  const { description } = base.device
  await base.dispose()
  for (const rank of [{ fraction: 0.25 }, { fraction: 0.5 }, { energy: 0.9 }]) {
    for (const calibration of [undefined, moments]) {
      const store = memoryStore()
      const with_ = { rank, ...(calibration && { moments: calibration }) }
      const { bytesBefore, bytesAfter } = await compress(await open(pathFolder(STORYTELLER)), store, with_)
      const lm = await load(store, { device, context: 64, dtype: "f32" })
      const heldOut = await heldOutLoss(lm, data, options)
      rows.push({ rule: rank, calibrated: calibration !== undefined, bytesBefore, bytesAfter, heldOut })
      await lm.dispose()
    }
  }
  const random = new Random(1)
  const shape = [48, 32] as const
  const weight = Float64Array.from({ length: shape[0] * shape[1] }, () => random.normal() * shape[1] ** -0.5)
  const objectives = [4, 8, 16, 24].flatMap((rank) =>
    (["relu", "gelu_tanh", "silu"] as const).map((activation) => {
      const { objective, spectralObjective } = functionApproximation(weight, shape, rank, { activation })
      return { rank, activation, spectralObjective, objective }
    }),
  )
  return { run: "ranks", device: description, rows, objectives }
}

/** Storyteller's layers at a quarter of their smaller side, and trained again. */
async function compressed() {
  const data = await dataset()
  const { steps = "300", rate, method: how } = values
  const options: TuneOptions = {
    method: "full",
    steps: Number(steps),
    batch: 4,
    context: 128,
    rate: Number(rate),
    heldOut: 32,
    heldOutFrom: "end",
    evaluateEvery: 50,
    seed,
  }
  const base = await load(undefined, { device, context: 512, dtype: "f32" })
  const moments = await storyMoments(base, data)
  const { description } = base.device
  const result = {
    run: "compress",
    device: description,
    rank: 0.25,
    heldOut: { base: await heldOutLoss(base, data, options) } as Record<string, number>,
    bytes: {} as Record<string, number>,
  }
  await base.dispose()
  for (const [name, calibration] of [["svd", undefined] as const, ["calibrated", moments] as const]) {
    const store = memoryStore()
    const checkpoint = await open(pathFolder(STORYTELLER))
    const { bytesBefore, bytesAfter } = await compress(checkpoint, store, {
      rank: { fraction: 0.25 },
      ...(calibration && { moments: calibration }),
    })
    Object.assign(result.bytes, { base: bytesBefore, compressed: bytesAfter })
    const lm = await load(store, { device, context: 64, dtype: "f32" })
    result.heldOut[name] = await heldOutLoss(lm, data, options)
    if (name === "calibrated") {
      const teacher = how === "distill" ? await load(undefined, { context: 64, beside: lm }) : undefined
      const run = teacher ? distill(lm, teacher, data, options) : tune(lm, data, options)
      const { curve, seconds } = await follow(run)
      await teacher?.dispose()
      result.heldOut.trained = heldOutOf(curve).at(-1)![1]!
      Object.assign(result, { how, steps: options.steps, rate: options.rate, curve: heldOutOf(curve), seconds })
    }
    await lm.dispose()
  }
  return result
}

/** Which share of ternary weights is 0. */
async function shareOfZeros(lm: LanguageModel): Promise<number | undefined> {
  const { device, parameters } = internals(lm).model
  let [zeros, all] = [0, 0]
  for (const { derived } of parameters.values()) {
    for (const { tensor } of derived?.parts ?? []) {
      const words = derived!.shape[1] / 16 + 1
      const rows = new Uint32Array(await device.read(tensor))
      for (let row = 0; row < rows.length; row += words) {
        const { trits } = unpackRow(rows.subarray(row, row + words))
        zeros += trits.reduce((sum, trit) => sum + +(trit === 0), 0)
        all += trits.length
      }
    }
  }
  return all > 0 ? zeros / all : undefined
}

/** An adapter on storyteller. */
async function adapter() {
  const lm = await load(undefined, { device, context: 64 })
  const method = values.method as "lora" | "lamda"
  const [rank, rate] = [Number(values.rank), Number(values.rate)]
  const options: TuneOptions = {
    method,
    rank,
    rate,
    steps: Number(values.steps ?? 150),
    batch: 4,
    context: 256,
    heldOut: 4,
    evaluateEvery: 25,
    seed,
    ...kept(),
    ...(values.init && { init: values.init as "svd-sigma" }),
  }
  const { steps, curve, seconds } = await follow(tune(lm, await dataset(), options))
  const shapes = [...internals(lm).model.network.linears.values()].map(({ shape }) => shape)
  const heldOut = heldOutOf(curve)
  const { description } = lm.device
  await lm.dispose()
  return {
    run: "tune",
    device: description,
    method,
    init: values.init,
    rank,
    rate,
    seed,
    heldOut,
    perplexity: Math.exp(steps.at(-1)!.heldOut!),
    trainedOnAverage: mean(steps.slice(1).map(({ trained }) => trained)),
    formula: method === "lora" ? loraParameters(shapes, rank) : averageUpdates(shapes, rank, 0.3),
    seconds,
  }
}

/** LoRA of rank 8 on a model of Gemma 3 270M's shape, 512 tokens a step, layers computed again. */
async function large() {
  const { folder } = await writeRandom270m()
  let lm: LanguageModel | undefined
  try {
    lm = await load(folder, { device, context: 64 })
    const ids = Array.from({ length: 512 }, (_, i) => 7 + ((i * 7919) % 250_000))
    const row = [{ ids, labels: ids }]
    const batches = {
      next: async () => ({ rows: [row] }),
      state: () => null,
      restore() {},
      async *heldOutRows() {},
    }
    const options: TuneOptions = {
      steps: Number(values.steps ?? 3),
      batch: 1,
      context: 512,
      rank: 8,
      recompute: true,
      evaluateEvery: 0,
    }
    const tuning = new Run(lm, batches, options)
    const preflight = await tuning.prepare()
    const { steps, seconds } = await follow(tuning)
    return {
      run: "270m",
      device: lm.device.description,
      predictedPeak: preflight.peak,
      peak: lm.memory.peak,
      losses: steps.map(({ loss }) => loss),
      tokensPerSecond: (512 * steps.length) / seconds,
      seconds,
    }
  } finally {
    await lm?.dispose()
    await rm(folder, { recursive: true, force: true })
  }
}

const runs = { curve, family, ranks, compress: compressed, tune: adapter, "270m": large }
const run = runs[positionals[0] as keyof typeof runs]
if (!run) throw new RangeError(`run: is ${positionals[0]}, expected one of ${Object.keys(runs).join(", ")}`)
const row = { date: new Date().toISOString(), commit: commit(), cpu: cpus()[0]?.model, ...(await run()) }
await mkdir(new URL("results/", import.meta.url), { recursive: true })
await appendFile(new URL("results/training.jsonl", import.meta.url), `${JSON.stringify(row)}\n`)
console.log(JSON.stringify(row, null, 2))
