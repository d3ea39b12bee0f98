import { type CommonConfig, LIMITS, parseTokens, width } from "./config_keys.ts"
import { encodeBf16 } from "./dtype.ts"
import { type Keys, show } from "./keys.ts"
import { type ExpertsConfig, type LowRankConfig, parseExperts, parseLowRank } from "./low_rank_config.ts"
import { type Rope, ropeOf } from "./rope_config.ts"
import { type DType, decodeToFloat32 } from "./safetensors.ts"

/** What one layer does differently from its neighbours. */
export interface LayerConfig {
  /** How many keys a query sees, itself included; null is a global layer. */
  readonly window: number | null
  readonly rope: Rope
}

/** A decoder with attention as its checkpoint describes it, with every default filled in. */
export interface TransformerConfig extends CommonConfig {
  /** The multimodal `gemma3` is its text part here. */
  readonly modelType: "gemma" | "gemma2" | "gemma3_text" | "llama"
  readonly numHeads: number
  readonly numKvHeads: number
  readonly headDim: number
  readonly activation: "gelu_tanh" | "silu"
  /** Multiplies q.k before the softmax. */
  readonly attentionScale: number
  readonly attentionSoftcap: number | null
  /** 1: norm weights are stored zero-centred, as Gemma does. */
  readonly normOffset: 0 | 1
  readonly qkNorm: boolean
  /** Four norms per layer instead of two. */
  readonly sandwichNorms: boolean
  /** Multiplies the embedding, exactly sqrt(C) for Gemma. See {@link embeddingScaleFor} for what a checkpoint uses. */
  readonly embeddingScale: number
  readonly layers: readonly LayerConfig[]
  /** What some linear layers begin as, if the model is new. */
  readonly lowRank: LowRankConfig | null
  /** What some linear layers are. */
  readonly experts: ExpertsConfig | null
}

type ModelType = TransformerConfig["modelType"]

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

/** Reads the keys of a decoder with attention. */
export function parseTransformer(keys: Keys, modelType: ModelType): TransformerConfig {
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
    lowRank: parseLowRank(keys),
    experts: parseExperts(keys),
    ...parseTokens(keys, vocabSize, gemma ? { bos: 2, eos: [1], pad: 0 } : { bos: 1, eos: [2], pad: null }),
  }
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

/**
 * What multiplies the embedding, given the type it is stored in. Gemma was trained in bfloat16 with sqrt(C) rounded to
 * it, and gemma.cpp, mlx-lm and transformers in bfloat16 all round it; float32 and float16 checkpoints use it exactly.
 */
export function embeddingScaleFor(config: TransformerConfig, dtype: DType): number {
  if (config.modelType === "llama" || dtype !== "BF16") return config.embeddingScale
  const rounded = encodeBf16(Float32Array.of(config.embeddingScale))
  return decodeToFloat32("BF16", new Uint8Array(rounded.buffer))[0]!
}
