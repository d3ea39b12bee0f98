import { readFile } from "node:fs/promises"
import { type LanguageModel, load, randomCheckpoint, type TuneOptions, tune } from "../../src/index.ts"
import { unpackRow } from "../../src/kernels/ternary.ts"
import { pathFolder } from "../../src/platform/node_files.ts"
import { internals } from "../../src/session.ts"
import { dataset, device, kept, STORYTELLER, seed, values } from "./arguments.ts"
import { follow, heldOutOf, mean } from "./follow.ts"

/** The run whose reference is in weights/storyteller/README.md: 300 steps from random weights. */
export async function curve() {
  const config = JSON.parse(await readFile(`${STORYTELLER}/config.json`, "utf8"))
  const tokenizer = pathFolder(STORYTELLER)
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
  const { curve: points, seconds } = await follow(
    tune(lm, part("first 3000", 0, 3000), options),
    "storyteller's shape from random weights",
  )
  const last = points.slice(-50).map(({ loss }) => loss!)
  const heldOut = heldOutOf(points)
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
export async function family() {
  const tokenizer = pathFolder(STORYTELLER)
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
  const { curve, seconds } = await follow(
    tune(lm, await dataset(), options),
    `${values.family}, 2.6 million parameters, from random weights`,
  )
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
