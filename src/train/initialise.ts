import { type ModelConfig, parseConfig } from "../model/config.ts"
import { isObject, Keys } from "../model/keys.ts"
import { type ExpertsConfig, rankOf } from "../model/low_rank_config.ts"
import { type SafetensorsEntry, writeSafetensors } from "../model/safetensors.ts"
import { type Folder, memoryFolder, readJson } from "../model/source.ts"
import { isHead, type WeightSpec, weightTable } from "../model/weights.ts"
import { createTokenizer } from "../tokenizer/tokenizer.ts"
import { concatenate } from "./bytes.ts"
import { functionApproximation, spectral } from "./low_rank_init.ts"
import { expectSeed, fillNormal, type Generator, generator } from "./permutation.ts"

export interface InitialiseOptions {
  /** The same seed gives the same weights. Default 0. */
  readonly seed?: number
  /** A checkpoint folder whose tokenizer, chat template and generation_config.json the new one gets. */
  readonly tokenizer?: Folder
}

/** What makes up a tokenizer, and the sampling that goes with it. */
const PASSED_ON = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
]

/** transformers' default for every family here. */
const DEVIATION = 0.02

/**
 * A checkpoint to train from scratch, in memory: matrices from N(0, initializer_range^2), norms that change nothing, all
 * in float32 under Hugging Face's names.
 *
 * @param config what config.json is to say
 * @throws RangeError or TypeError naming what in the config cannot be
 */
export async function randomCheckpoint(
  config: object,
  { seed = 0, tokenizer }: InitialiseOptions = {},
): Promise<Folder> {
  expectSeed("randomCheckpoint", seed)
  const json = inFloat32(structuredClone(config) as Record<string, unknown>)
  const files = new Map([["config.json", new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`)]])
  const { vocabSize } = parseConfig(json, "config.json")
  if (tokenizer) {
    await expectVocabulary(tokenizer, vocabSize)
    for (const name of PASSED_ON) {
      const source = await tokenizer.open(name)
      if (source) files.set(name, new Uint8Array(await source.slice(0, source.byteLength)))
    }
  }
  files.set("model.safetensors", await whole(writeSafetensors(entriesOf(json, seed), { format: "pt" })))
  return memoryFolder("random checkpoint", files)
}

/** The config with the type that the weights will have, wherever it names one. */
function inFloat32(json: Record<string, unknown>): Record<string, unknown> {
  for (const key of ["torch_dtype", "dtype"]) if (key in json) json[key] = "float32"
  if (isObject(json.text_config)) inFloat32(json.text_config)
  return json
}

async function expectVocabulary(folder: Folder, vocabSize: number): Promise<void> {
  const tokenizerJson = await readJson(folder, "tokenizer.json")
  if (tokenizerJson === undefined) {
    throw new RangeError(`${folder.name}: tokenizer.json is missing, expected a folder with a tokenizer`)
  }
  const tokenizer = createTokenizer({ tokenizerJson, tokenizerConfig: await readJson(folder, "tokenizer_config.json") })
  // Gemma 3's tokenizer has a control token for images beyond what its text models embed.
  let needed = tokenizer.vocabSize
  while (needed > vocabSize && tokenizer.isSpecial(needed - 1)) needed--
  if (needed <= vocabSize) return
  const expected = `at least ${needed} for the tokenizer of ${folder.name}`
  throw new RangeError(`config.json: vocab_size is ${vocabSize}, expected ${expected}`)
}

function entriesOf(json: Record<string, unknown>, seed: number): SafetensorsEntry[] {
  const config = parseConfig(json, "config.json")
  // The files of image models hold the text model one level deeper.
  const outer = json.model_type === "gemma3" ? "language_model." : ""
  const keys = new Keys(outer && isObject(json.text_config) ? json.text_config : json, "config.json")
  const deviation = keys.positive("initializer_range", DEVIATION)
  const next = generator(seed)
  return weightTable(config).flatMap((spec) => {
    const values = initial(spec, config, deviation, next)
    const prefix = isHead(spec) ? outer : `${outer}model.`
    return factors(spec, values, config).map(({ name, shape, values }) => {
      return { name: prefix + name, dtype: "F32" as const, shape, bytes: new Uint8Array(values.buffer) }
    })
  })
}

/** A weight as it is, or, where the config asks for low-rank layers, its factors. */
function factors(spec: WeightSpec, values: Float32Array<ArrayBuffer>, config: ModelConfig) {
  const { name, shape } = spec
  const lowRank = config.modelType === "hgrn_bit" ? null : config.lowRank
  const path = name.slice(0, -".weight".length)
  const module = path.slice(path.lastIndexOf(".") + 1)
  if (config.modelType === "hgrn_bit" || !lowRank?.modules.includes(module)) return [{ name, shape, values }]
  const [N, C] = shape as [number, number]
  const rank = Math.min(rankOf(lowRank, shape), 4 * Math.floor(Math.min(N, C) / 4))
  const behind = module === "gate_proj" && lowRank.init === "function"
  const { u, v } = behind
    ? functionApproximation(values, [N, C], rank, { activation: config.activation })
    : spectral(values, [N, C], rank)
  return [
    { name: `${path}.u.weight`, shape: [N, rank], values: Float32Array.from(u) },
    { name: `${path}.v.weight`, shape: [rank, C], values: Float32Array.from(v) },
  ]
}

/** One weight. A norm is a vector and begins as the identity; Gemma stores its distance from 1. */
function initial(spec: WeightSpec, config: ModelConfig, deviation: number, next: Generator): Float32Array<ArrayBuffer> {
  const { shape } = spec
  const values = new Float32Array(shape.reduce((product, extent) => product * extent, 1))
  if (shape.length === 1) return values.fill(config.modelType === "hgrn_bit" ? 1 : 1 - config.normOffset)
  if (config.modelType === "hgrn_bit") return initialHgrn(spec, values, config.numLayers, deviation, next)
  if (config.experts && /\.[ucv]$/.test(spec.field)) return initialExpert(spec, values, config.experts, deviation, next)
  fillNormal(values, deviation, next)
  return values
}

/** Experts whose gated mean has the deviation of a dense layer's output: `C_k` are identities, `U_k` and `V_k` normal. */
function initialExpert(
  { field, shape }: WeightSpec,
  values: Float32Array<ArrayBuffer>,
  { experts, rank }: ExpertsConfig,
  deviation: number,
  next: Generator,
): Float32Array<ArrayBuffer> {
  if (!field.endsWith(".c")) {
    fillNormal(values, Math.sqrt(deviation) * (experts / rank) ** 0.25, next)
    return values
  }
  for (let row = 0; row < shape[0]!; row++) values[row * rank + (row % rank)] = 1
  return values
}

/**
 * As the MatMul-free models began (arXiv:2406.02528 and its code): projections of the mixer Xavier-uniform with a gain of
 * 2^-2.5, the others normal; what is added to the residual stream smaller by the root of 2 L; equal lower bounds.
 */
function initialHgrn(
  { field, shape }: WeightSpec,
  values: Float32Array<ArrayBuffer>,
  layers: number,
  deviation: number,
  next: Generator,
): Float32Array<ArrayBuffer> {
  if (field === "lowerBounds") return values
  const factor = /\.(mixer\.o|mlp\.down)\.weight$/.test(field) ? (2 * layers) ** -0.5 : 1
  if (!field.includes(".mixer.")) {
    fillNormal(values, factor * deviation, next)
    return values
  }
  const bound = factor * 2 ** -2.5 * Math.sqrt(6 / (shape[0]! + shape[1]!))
  return values.map(() => (next() / 2 ** 31 - 1) * bound)
}

async function whole(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = []
  for await (const chunk of chunks) parts.push(chunk)
  return concatenate(parts)
}
