import { encodeBf16 } from "./dtype.ts"
import { isHarmless } from "./harmless_keys.ts"
import { isObject, Keys, show } from "./keys.ts"
import { type Rope, ropeOf } from "./rope_config.ts"
import { type DType, decodeToFloat32 } from "./safetensors.ts"

/** What one layer does differently from its neighbours. */
export interface LayerConfig {
  /** How many keys a query sees, itself included; null is a global layer. */
  readonly window: number | null
  readonly rope: Rope
}

/** A text model as its checkpoint describes it, with every default filled in. */
export interface ModelConfig {
  /** The multimodal `gemma3` is its text part here. */
  readonly modelType: "gemma" | "gemma2" | "gemma3_text" | "llama"
  readonly vocabSize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numLayers: number
  readonly numHeads: number
  readonly numKvHeads: number
  readonly headDim: number
  readonly maxPositions: number
  readonly eps: number
  readonly activation: "gelu_tanh" | "silu"
  /** Multiplies q.k before the softmax. */
  readonly attentionScale: number
  readonly attentionSoftcap: number | null
  readonly finalSoftcap: number | null
  /** 1: norm weights are stored zero-centred, as Gemma does. */
  readonly normOffset: 0 | 1
  readonly qkNorm: boolean
  /** Four norms per layer instead of two. */
  readonly sandwichNorms: boolean
  /** Multiplies the embedding, exactly sqrt(C) for Gemma. See {@link embeddingScaleFor} for what a checkpoint uses. */
  readonly embeddingScale: number
  readonly tiedHead: boolean
  readonly layers: readonly LayerConfig[]
  readonly bos: number | null
  readonly eos: readonly number[]
  readonly pad: number | null
}

export interface ConfigOptions {
  /** Keys of config.json to treat as absent, at the caller's risk. */
  ignoreKeys?: readonly string[]
}

const MODEL_TYPES = ["gemma", "gemma2", "gemma3_text", "gemma3", "llama"] as const
type ModelType = ModelConfig["modelType"]

/** No known model comes near these; a corrupt number passes them at once. */
const LIMITS = { vocab: 2 ** 24, width: 2 ** 20, layers: 1024, heads: 1024, positions: 2 ** 27 }

/**
 * What transformers assumes for a key that is absent (its `*Config` classes). A multimodal gemma3 leaves out of its
 * text_config all that is at its default. Where a family has no entry, the key is required.
 */
const DEFAULTS: Record<ModelType, { vocab?: number; heads?: number; kvHeads?: number; positions: number }> = {
  gemma: { positions: 8192 },
  gemma2: { positions: 8192, kvHeads: 4 },
  gemma3_text: { vocab: 262208, heads: 8, kvHeads: 4, positions: 131072 },
  llama: { positions: 2048 },
}

/**
 * Reads a config.json of any generation of keys. What would change the results and is not supported is refused by name.
 *
 * @param name what errors call the file
 * @throws TypeError for a missing key or one of the wrong type, RangeError for an unsupported value
 */
export function parseConfig(json: unknown, name: string, options: ConfigOptions = {}): ModelConfig {
  const outer = new Keys(json, name)
  for (const key of options.ignoreKeys ?? []) outer.delete(key)
  const modelType = outer.choice("model_type", MODEL_TYPES)
  if (modelType !== "gemma3") {
    const config = parseText(outer, modelType)
    outer.refuseUnread(isHarmless)
    return config
  }
  const inner = outer.nested("text_config")
  if (!inner) throw new TypeError(outer.describe("text_config", "an object"))
  for (const key of options.ignoreKeys ?? []) inner.delete(key)
  inner.choice("model_type", ["gemma3_text"], "gemma3_text")
  const config = parseText(inner, "gemma3_text")
  inner.refuseUnread(isHarmless)
  const tokens = parseTokens(outer, config.vocabSize, config)
  const tiedHead = outer.flag("tie_word_embeddings", true)
  outer.refuseUnread(isHarmless)
  return { ...config, ...tokens, tiedHead: inner.has("tie_word_embeddings") ? config.tiedHead : tiedHead }
}

function parseText(keys: Keys, modelType: ModelType): ModelConfig {
  const gemma = modelType !== "llama"
  const gemma3 = modelType === "gemma3_text"
  const sandwichNorms = gemma3 || modelType === "gemma2"
  const defaults = DEFAULTS[modelType]
  const vocabSize = keys.integer("vocab_size", 1, LIMITS.vocab, defaults.vocab)
  const hiddenSize = width(keys, "hidden_size")
  const numLayers = keys.integer("num_hidden_layers", 1, LIMITS.layers)
  const numHeads = keys.integer("num_attention_heads", 1, LIMITS.heads, defaults.heads)
  const numKvHeads = keys.integer("num_key_value_heads", 1, LIMITS.heads, defaults.kvHeads ?? numHeads)
  if (numHeads % numKvHeads !== 0) {
    throw new RangeError(keys.describe("num_key_value_heads", `a divisor of num_attention_heads ${numHeads}`))
  }
  const headDim = parseHeadDim(keys, gemma ? 256 : hiddenSize / numHeads)
  const scalar = sandwichNorms ? keys.positive("query_pre_attn_scalar", 256) : headDim
  const attentionSoftcap = softcap(keys, "attn_logit_softcapping", modelType === "gemma2" ? 50 : null, sandwichNorms)
  return {
    modelType,
    vocabSize,
    hiddenSize,
    intermediateSize: width(keys, "intermediate_size"),
    numLayers,
    numHeads,
    numKvHeads,
    headDim,
    maxPositions: keys.integer("max_position_embeddings", 1, LIMITS.positions, defaults.positions),
    eps: keys.positive("rms_norm_eps", 1e-6),
    activation: parseActivation(keys, modelType),
    attentionScale: scalar ** -0.5,
    // Gemma 3's attention has no soft-cap in any reference, even where a config sets one.
    attentionSoftcap: gemma3 ? null : attentionSoftcap,
    finalSoftcap: softcap(keys, "final_logit_softcapping", modelType === "gemma2" ? 30 : null, sandwichNorms),
    normOffset: gemma ? 1 : 0,
    qkNorm: gemma3,
    sandwichNorms,
    embeddingScale: gemma ? Math.sqrt(hiddenSize) : 1,
    tiedHead: keys.flag("tie_word_embeddings", gemma),
    layers: parseLayers(keys, modelType, numLayers),
    ...parseTokens(keys, vocabSize, gemma ? { bos: 2, eos: [1], pad: 0 } : { bos: 1, eos: [2], pad: null }),
  }
}

/** Rows are read four elements at a time. */
function width(keys: Keys, key: string): number {
  const value = keys.integer(key, 4, LIMITS.width)
  if (value % 4 !== 0) throw new RangeError(keys.describe(key, "a multiple of 4 (the kernels read four at a time)"))
  return value
}

function parseHeadDim(keys: Keys, fallback: number): number {
  const headDim = keys.get("head_dim") ?? fallback
  if (typeof headDim !== "number") throw new TypeError(keys.describe("head_dim", "a multiple of 4 up to 256"))
  if (!(headDim > 0 && headDim <= 256 && headDim % 4 === 0)) {
    const limit = "a multiple of 4 up to 256 (the attention kernels' limit)"
    if (keys.has("head_dim")) throw new RangeError(keys.describe("head_dim", limit))
    const divided = `hidden_size / num_attention_heads to be ${limit}`
    throw new RangeError(keys.describe("num_attention_heads", divided))
  }
  return headDim
}

/** A written null means no cap; only an absent key means the family's default. */
function softcap(keys: Keys, key: string, fallback: number | null, known: boolean): number | null {
  if (!known || keys.get(key) === undefined) return keys.has(key) ? null : fallback
  return keys.positive(key)
}

function parseActivation(keys: Keys, modelType: ModelType): "gelu_tanh" | "silu" {
  if (modelType === "llama") {
    keys.choice("hidden_act", ["silu", "swish"], "silu")
    return "silu"
  }
  if (keys.get("hidden_activation") !== undefined || modelType === "gemma3_text") {
    keys.get("hidden_act") // a leftover beside hidden_activation, which rules
    keys.choice("hidden_activation", ["gelu_pytorch_tanh"], "gelu_pytorch_tanh")
  } else {
    // The first Gemma configs say "gelu" and were trained with the tanh form: gemma_pytorch and llama.cpp compute that,
    // as did transformers' GemmaMLP while hidden_activation was null. Its later versions take "gelu" as the erf form.
    keys.choice("hidden_act", ["gelu_pytorch_tanh", "gelu"], "gelu_pytorch_tanh")
  }
  return "gelu_tanh"
}

function parseLayers(keys: Keys, modelType: ModelType, numLayers: number): LayerConfig[] {
  const rope = ropeOf(keys, modelType === "gemma3_text")
  if (modelType === "gemma" || modelType === "llama") {
    return Array.from({ length: numLayers }, () => ({ window: null, rope: rope.full }))
  }
  const slides = slidingLayers(keys, numLayers, modelType === "gemma2" ? 2 : 6)
  const size = keys.get("sliding_window")
  const window = slides.includes(true) ? keys.integer("sliding_window", 1, LIMITS.positions, 4096) : 0
  if (slides.includes(true) && keys.has("sliding_window") && size === undefined) {
    throw new TypeError(keys.describe("sliding_window", "an integer, as some layers slide"))
  }
  // Gemma 2 9B and 27B have the same number under this name as well.
  const other = keys.get("sliding_window_size")
  if (other !== undefined && window > 0 && other !== window) {
    throw new RangeError(keys.describe("sliding_window_size", `${window} as in sliding_window`))
  }
  return slides.map((slide) => (slide ? { window, rope: rope.sliding } : { window: null, rope: rope.full }))
}

/** Which layers slide: `layer_types` decides where it is, else every p-th layer is global. */
function slidingLayers(keys: Keys, numLayers: number, fallback: number): boolean[] {
  const key = keys.get("sliding_window_pattern") === undefined ? "_sliding_window_pattern" : "sliding_window_pattern"
  const types = keys.get("layer_types")
  if (types === undefined) {
    const pattern = keys.integer(key, 1, LIMITS.layers, fallback)
    return Array.from({ length: numLayers }, (_, i) => (i + 1) % pattern !== 0)
  }
  if (!Array.isArray(types)) throw new TypeError(keys.describe("layer_types", "a list"))
  if (types.length !== numLayers) {
    const file = `${keys.file}: ${keys.path}layer_types`
    throw new RangeError(`${file} has ${types.length} entries, expected num_hidden_layers ${numLayers}`)
  }
  return types.map((type, i) => {
    if (type === "sliding_attention" || type === "full_attention") return type === "sliding_attention"
    const at = `${keys.file}: ${keys.path}layer_types[${i}]`
    throw new RangeError(`${at} is ${show(type)}, expected sliding_attention or full_attention`)
  })
}

type Tokens = Pick<ModelConfig, "bos" | "eos" | "pad">

function parseTokens(keys: Keys, vocabSize: number, fallback: Tokens): Tokens {
  const one = (key: string, max: number, fallback: number | null): number | null => {
    if (!keys.has(key)) return fallback
    if (keys.get(key) === undefined || keys.get(key) === -1) return null // Llama configs write -1 for none
    return keys.integer(key, 0, max)
  }
  const bos = one("bos_token_id", vocabSize - 1, fallback.bos)
  const pad = one("pad_token_id", LIMITS.vocab, fallback.pad) // never fed to the model
  return { bos, pad, eos: keys.has("eos_token_id") ? idList(keys, "eos_token_id") : fallback.eos }
}

/** One id, a list of ids, or nothing. An id beyond the vocabulary is tolerated: it never comes. */
function idList(keys: Keys, key: string): number[] {
  const value = keys.get(key)
  if (value === undefined) return []
  const ids: unknown[] = Array.isArray(value) ? value : [value]
  for (const id of ids) {
    if (typeof id !== "number") throw new TypeError(keys.describe(key, "a token id or a list of them"))
    if (!Number.isSafeInteger(id) || id < 0) throw new RangeError(keys.describe(key, "a token id or a list of them"))
  }
  return ids as number[]
}

/**
 * What multiplies the embedding, given the type it is stored in. Gemma was trained in bfloat16 with sqrt(C) rounded to
 * it, and gemma.cpp, mlx-lm and transformers in bfloat16 all round it; float32 and float16 checkpoints use it exactly.
 */
export function embeddingScaleFor(config: ModelConfig, dtype: DType): number {
  if (config.modelType === "llama" || dtype !== "BF16") return config.embeddingScale
  const rounded = encodeBf16(Float32Array.of(config.embeddingScale))
  return decodeToFloat32("BF16", new Uint8Array(rounded.buffer))[0]!
}

/** The sampling defaults that a checkpoint recommends. */
export interface GenerationConfig {
  /** Empty when the file names none. */
  eos: number[]
  temperature?: number
  topK?: number
  topP?: number
  minP?: number
  repetitionPenalty?: number
  doSample?: boolean
}

/** Reads a generation_config.json; keys that do not concern sampling here are left alone. */
export function parseGenerationConfig(json: unknown, name: string): GenerationConfig {
  if (!isObject(json)) throw new TypeError(`${name}: the top level is ${show(json)}, expected an object`)
  const keys = new Keys(json, name)
  const config: GenerationConfig = { eos: idList(keys, "eos_token_id") }
  const number = (key: string, min: number, max: number): number | undefined => {
    const value = keys.get(key)
    if (value === undefined) return undefined
    if (typeof value !== "number") throw new TypeError(keys.describe(key, "a number"))
    if (!(value >= min && value <= max)) throw new RangeError(keys.describe(key, `${min} to ${max}`))
    return value
  }
  const set = <K extends keyof GenerationConfig>(key: K, value: GenerationConfig[K] | undefined) => {
    if (value !== undefined) config[key] = value
  }
  set("temperature", number("temperature", 0, Number.MAX_VALUE))
  set("topK", keys.get("top_k") === undefined ? undefined : keys.integer("top_k", 0, LIMITS.vocab))
  set("topP", number("top_p", 0, 1))
  set("minP", number("min_p", 0, 1))
  set(
    "repetitionPenalty",
    keys.get("repetition_penalty") === undefined ? undefined : keys.positive("repetition_penalty"),
  )
  set("doSample", keys.get("do_sample") === undefined ? undefined : keys.flag("do_sample", false))
  return config
}
