import { LIMITS } from "../config_keys.ts"
import { Keys, show } from "../keys.ts"
import type { GgufValue } from "./bytes.ts"
import type { GgufHeader } from "./header.ts"
import { ARCHITECTURES, type Architecture } from "./names.ts"

/** What stands for the files that lie beside a checkpoint of safetensors. */
export interface GgufConfig {
  readonly architecture: Architecture
  /** As in config.json, under the keys that transformers uses. */
  readonly config: Readonly<Record<string, unknown>>
  /** As in generation_config.json. */
  readonly generation: Readonly<Record<string, unknown>>
}

/**
 * Layers of the models whose attention scale is not `head_dim^-0.5` but `(hidden_size / heads)^-0.5`: Gemma 2 27B and Gemma 3
 * 27B. A GGUF does not say which, and llama.cpp knows them by this number too (`load_arch_hparams` of both).
 */
const LAYERS_OF_27B: Partial<Record<Architecture, number>> = { gemma2: 46, gemma3: 62 }
/** Every p-th layer is global where the file does not say, as in llama.cpp. */
const PATTERN: Partial<Record<Architecture, number>> = { gemma2: 2, gemma3: 6 }
/** llama.cpp's defaults for keys that early conversions left out. */
const WINDOW_OF_GEMMA2 = 4096
const SOFTCAPS_OF_GEMMA2 = { attention: 50, final: 30 }
const ROPE_BASE = 10_000

/** Texts of tokens that end a turn, which few files name by id. */
const TURN_ENDS = new Set(["<end_of_turn>", "<|eot_id|>", "<|im_end|>"])
/** Read elsewhere, or about how the file was made. */
const HARMLESS = new Set([
  "vocab_size",
  "tensor_data_layout",
  "rope.scaling.finetuned",
  "rope.scaling.original_context_length",
])

/**
 * The metadata as the config of a checkpoint. Keys of the architecture that would change the results and are not known here
 * are refused by name.
 *
 * @param file what errors call it
 * @param ignoreKeys keys to treat as absent, by their full names
 * @throws TypeError for a missing key or one of the wrong type, RangeError for an unsupported value
 */
export function ggufConfig({ metadata, tensors }: GgufHeader, file: string, ignoreKeys: readonly string[]): GgufConfig {
  expectModel(metadata, file)
  const architecture = new Keys(Object.fromEntries(metadata), file).choice("general.architecture", ARCHITECTURES)
  const prefix = `${architecture}.`
  const keys = new Keys(Object.fromEntries(under(prefix, metadata)), file, prefix)
  for (const key of ignoreKeys) if (key.startsWith(prefix)) keys.delete(key.slice(prefix.length))
  const embedding = tensors.get("token_embd.weight")
  if (!embedding) throw new RangeError(`${file}: token_embd.weight is missing, expected [V, C]`)
  const vocabSize = embedding.shape[0]!
  const config = {
    model_type: architecture === "gemma3" ? "gemma3_text" : architecture,
    vocab_size: vocabSize,
    tie_word_embeddings: !tensors.has("output.weight"),
    ...shapeOf(keys),
    ...attentionOf(keys, architecture),
    ...ropeOf(keys, architecture),
    ...tokensOf(metadata, file, vocabSize),
  }
  keys.refuseUnread((key) => HARMLESS.has(key))
  return { architecture, config, generation: generationOf(metadata, config.eos_token_id) }
}

/** Refuses what is a GGUF and not a whole model. */
function expectModel(metadata: GgufHeader["metadata"], file: string): void {
  const keys = new Keys(Object.fromEntries(metadata), file)
  keys.choice("general.type", ["model"], "model")
  const parts = keys.get("split.count") ?? 1
  if (parts === 1 || parts === 0) return
  throw new RangeError(keys.describe("split.count", "1 (`llama-gguf-split --merge` makes one file of several)"))
}

/** The entries whose keys begin so, without it. Lists are of layers, and shown in errors: they become plain and short. */
function under(prefix: string, metadata: GgufHeader["metadata"]): [string, unknown][] {
  const plain = (value: GgufValue) =>
    ArrayBuffer.isView(value) ? Array.from(value.subarray(0, LIMITS.layers + 1)) : value
  return [...metadata].flatMap(([key, value]) =>
    key.startsWith(prefix) ? [[key.slice(prefix.length), plain(value)] as [string, unknown]] : [],
  )
}

function shapeOf(keys: Keys) {
  keys.integer("expert_count", 0, 0, 0)
  keys.integer("expert_used_count", 0, 0, 0)
  return {
    hidden_size: keys.integer("embedding_length", 1, LIMITS.width),
    intermediate_size: keys.integer("feed_forward_length", 1, LIMITS.width),
    num_hidden_layers: keys.integer("block_count", 1, LIMITS.layers),
    max_position_embeddings: keys.integer("context_length", 1, LIMITS.positions),
    rms_norm_eps: keys.positive("attention.layer_norm_rms_epsilon"),
  }
}

function attentionOf(keys: Keys, architecture: Architecture) {
  if (!keys.flag("attention.causal", true)) throw new RangeError(keys.describe("attention.causal", "true"))
  const heads = keys.integer("attention.head_count", 1, LIMITS.heads)
  const [width, layers] = [keys.get("embedding_length") as number, keys.get("block_count") as number]
  const headDim = keys.integer("attention.key_length", 1, LIMITS.width, width / heads)
  keys.integer("attention.value_length", headDim, headDim, headDim)
  keys.integer("rope.dimension_count", headDim, headDim, headDim)
  const common = {
    num_attention_heads: heads,
    num_key_value_heads: keys.integer("attention.head_count_kv", 1, LIMITS.heads, heads),
    head_dim: headDim,
  }
  if (architecture === "gemma" || architecture === "llama") return common
  return {
    ...common,
    query_pre_attn_scalar: layers === LAYERS_OF_27B[architecture] ? width / heads : headDim,
    ...softcapsOf(keys, architecture),
    ...slidingOf(keys, architecture, layers),
  }
}

function softcapsOf(keys: Keys, architecture: Architecture) {
  const gemma2 = architecture === "gemma2"
  const softcap = (key: string, fallback: number) => (keys.has(key) || gemma2 ? keys.positive(key, fallback) : null)
  return {
    // Only Gemma 2 has one here: in Gemma 3 a key that says so is refused as unread.
    ...(gemma2 && { attn_logit_softcapping: softcap("attn_logit_softcapping", SOFTCAPS_OF_GEMMA2.attention) }),
    final_logit_softcapping: softcap("final_logit_softcapping", SOFTCAPS_OF_GEMMA2.final),
  }
}

/** Which layers slide: by a list, or every p-th is global; none do in a Gemma 3 without a window. */
function slidingOf(keys: Keys, architecture: Architecture, layers: number) {
  const window = keys.integer(
    "attention.sliding_window",
    0,
    LIMITS.positions,
    architecture === "gemma2" ? WINDOW_OF_GEMMA2 : 0,
  )
  const pattern = keys.get("attention.sliding_window_pattern")
  if (window === 0) return { layer_types: Array.from({ length: layers }, () => "full_attention") }
  if (Array.isArray(pattern)) {
    return {
      sliding_window: window,
      layer_types: pattern.map((slides) => (slides ? "sliding_attention" : "full_attention")),
    }
  }
  const period = keys.integer("attention.sliding_window_pattern", 1, LIMITS.layers, PATTERN[architecture])
  return { sliding_window: window, sliding_window_pattern: period }
}

/** The rotary base and a linear factor; in Gemma 3 those of global layers, local ones having a base of their own. */
function ropeOf(keys: Keys, architecture: Architecture) {
  const base = keys.positive("rope.freq_base", architecture === "gemma3" ? undefined : ROPE_BASE)
  const type = keys.choice("rope.scaling.type", ["none", "linear"], keys.has("rope.scale_linear") ? "linear" : "none")
  const scale = keys.positive("rope.scale_linear", 1) // what rope.scaling.factor was called first
  const factor = keys.positive("rope.scaling.factor", scale)
  const attention = keys.positive("rope.scaling.attn_factor", 1)
  if (attention !== 1) throw new RangeError(keys.describe("rope.scaling.attn_factor", "1"))
  return {
    rope_theta: base,
    rope_scaling: type === "linear" && factor !== 1 ? { rope_type: "linear", factor } : null,
    ...(architecture === "gemma3" && { rope_local_base_freq: keys.positive("rope.freq_base_swa", ROPE_BASE) }),
  }
}

/** Ids of the tokens that mean something. All of those that end a turn end an answer. */
function tokensOf(metadata: GgufHeader["metadata"], file: string, vocabSize: number) {
  const keys = new Keys(Object.fromEntries(under("tokenizer.ggml.", metadata)), file, "tokenizer.ggml.")
  const id = (key: string) => (keys.get(key) === undefined ? undefined : keys.integer(key, 0, vocabSize - 1))
  const tokens = metadata.get("tokenizer.ggml.tokens")
  const ends = new Set([id("eos_token_id"), id("eot_token_id"), id("eom_token_id")].filter((id) => id !== undefined))
  if (Array.isArray(tokens)) {
    if (tokens.length > vocabSize) {
      throw new RangeError(`${file}: tokenizer.ggml.tokens are ${show(tokens.length)}, expected at most ${vocabSize}`)
    }
    for (const [i, token] of tokens.entries()) if (TURN_ENDS.has(token)) ends.add(i)
  }
  const [bos, pad] = [id("bos_token_id"), id("padding_token_id")]
  return {
    ...(bos !== undefined && { bos_token_id: bos }),
    ...(pad !== undefined && { pad_token_id: pad }),
    ...(ends.size > 0 && { eos_token_id: [...ends] }),
  }
}

/** What the file recommends for sampling, if anything. */
function generationOf(metadata: GgufHeader["metadata"], eos: unknown): Record<string, unknown> {
  const names = {
    temp: "temperature",
    top_k: "top_k",
    top_p: "top_p",
    min_p: "min_p",
    penalty_repeat: "repetition_penalty",
  }
  const sampling = Object.entries(names).flatMap(([key, name]) => {
    const value = metadata.get(`general.sampling.${key}`)
    return value === undefined ? [] : [[name, value] as const]
  })
  return {
    ...(eos !== undefined && { eos_token_id: eos }),
    ...(sampling.length > 0 && { do_sample: true, ...Object.fromEntries(sampling) }),
  }
}
