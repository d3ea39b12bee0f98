import { parseConfig } from "../../src/model/config.ts"
import { transformer } from "../helpers/transformer.ts"
import { fixtureJson } from "./fixture_folders.ts"

/** A multimodal config whose text part is as sparse as the published ones. */
export function sparseConfig(text: Record<string, unknown>): Record<string, unknown> {
  const rope_scaling = { factor: 8.0, rope_type: "linear" }
  return {
    architectures: ["Gemma3ForConditionalGeneration"],
    boi_token_index: 255999,
    eoi_token_index: 256000,
    eos_token_id: [1, 106],
    image_token_index: 262144,
    initializer_range: 0.02,
    mm_tokens_per_image: 256,
    model_type: "gemma3",
    text_config: { model_type: "gemma3_text", rope_scaling, sliding_window: 1024, ...text },
    torch_dtype: "bfloat16",
    transformers_version: "4.50.0.dev0",
    vision_config: { hidden_size: 1152, model_type: "siglip_vision_model" },
  }
}

export const config4B = sparseConfig({ hidden_size: 2560, intermediate_size: 10240, num_hidden_layers: 34 })
export const config12B = sparseConfig({
  hidden_size: 3840,
  intermediate_size: 15360,
  num_hidden_layers: 48,
  num_attention_heads: 16,
  num_key_value_heads: 8,
})
export const config27B = sparseConfig({
  hidden_size: 5376,
  intermediate_size: 21504,
  num_hidden_layers: 62,
  num_attention_heads: 32,
  num_key_value_heads: 16,
  head_dim: 128,
  query_pre_attn_scalar: 168,
})

/** The five published sizes. */
export function gemma3Sizes() {
  const name = "config.json"
  return {
    "270M": transformer(parseConfig(fixtureJson("gemma-configs/gemma-3-270m.config.json"), name)),
    "1B": transformer(parseConfig(fixtureJson("gemma-configs/gemma-3-1b-it.config.json"), name)),
    "4B": transformer(parseConfig(config4B, name)),
    "12B": transformer(parseConfig(config12B, name)),
    "27B": transformer(parseConfig(config27B, name)),
  }
}
