import { idList, LIMITS, parseTokens } from "./config_keys.ts"
import { isHarmless } from "./harmless_keys.ts"
import { type HgrnConfig, parseHgrn } from "./hgrn_config.ts"
import { isObject, Keys, show } from "./keys.ts"
import { parseTransformer, type TransformerConfig } from "./transformer_config.ts"

/** A text model as its checkpoint describes it, with every default filled in. `modelType` tells the families apart. */
export type ModelConfig = TransformerConfig | HgrnConfig

export interface ConfigOptions {
  /** Keys of config.json to treat as absent, at the caller's risk. */
  ignoreKeys?: readonly string[]
}

const MODEL_TYPES = ["gemma", "gemma2", "gemma3_text", "gemma3", "llama", "hgrn_bit"] as const

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
    const config = modelType === "hgrn_bit" ? parseHgrn(outer) : parseTransformer(outer, modelType)
    outer.refuseUnread(isHarmless)
    return config
  }
  const inner = outer.nested("text_config")
  if (!inner) throw new TypeError(outer.describe("text_config", "an object"))
  for (const key of options.ignoreKeys ?? []) inner.delete(key)
  inner.choice("model_type", ["gemma3_text"], "gemma3_text")
  const config = parseTransformer(inner, "gemma3_text")
  inner.refuseUnread(isHarmless)
  const tokens = parseTokens(outer, config.vocabSize, config)
  const tiedHead = outer.flag("tie_word_embeddings", true)
  outer.refuseUnread(isHarmless)
  return { ...config, ...tokens, tiedHead: inner.has("tie_word_embeddings") ? config.tiedHead : tiedHead }
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
