import { describe, expect, test } from "vitest"
import { parseConfig } from "../../src/model/config.ts"
import { fixtureJson } from "./fixture_folders.ts"
import { config4B } from "./gemma3_sizes.ts"

const gemma3 = fixtureJson("gemma-configs/gemma-3-1b-it.config.json")
const gemma2 = fixtureJson("goldens/tiny-gemma2/config.json")
const gemma1 = fixtureJson("goldens/tiny-gemma1/config.json")
const llama = fixtureJson("stories260K/config.json")
const without = (json: Record<string, unknown>, ...keys: string[]) =>
  Object.fromEntries(Object.entries(json).filter(([key]) => !keys.includes(key)))

describe("parseConfig", () => {
  const nested = (change: object) => ({ ...config4B, text_config: { ...(config4B.text_config as object), ...change } })
  test.each<[string, unknown, typeof Error, string]>([
    ["an array", [], TypeError, "the top level is [], expected an object"],
    ["no model_type", without(gemma3, "model_type"), TypeError, "model_type is missing, expected gemma or gemma2 or"],
    [
      "another model_type",
      { ...gemma3, model_type: "gemma4" },
      RangeError,
      'model_type is "gemma4", expected gemma or',
    ],
    ["a missing size", without(gemma3, "hidden_size"), TypeError, "hidden_size is missing, expected an integer of 4"],
    ["a missing vocabulary", without(llama, "vocab_size"), TypeError, "vocab_size is missing"],
    ["missing heads", without(gemma2, "num_attention_heads"), TypeError, "num_attention_heads is missing"],
    [
      "a missing text_config",
      without(config4B, "text_config"),
      TypeError,
      "text_config is missing, expected an object",
    ],
    [
      "a text_config that is a list",
      { ...config4B, text_config: [] },
      TypeError,
      "text_config is [], expected an object",
    ],
    [
      "another text model",
      nested({ model_type: "gemma2" }),
      RangeError,
      'text_config.model_type is "gemma2", expected',
    ],
    ["a nested fault by its path", nested({ head_dim: "x" }), TypeError, 'text_config.head_dim is "x", expected'],
    ["an unknown nested key", nested({ qk_clip: 3 }), RangeError, "text_config.qk_clip is 3, expected no such key"],
    ["an unknown key", { ...gemma3, num_experts: 8 }, RangeError, "num_experts is 8, expected no such key"],
    ["an unknown key that is 0", { ...gemma3, altup: 0 }, RangeError, "altup is 0, expected no such key"],
    ["attention_bias", { ...gemma3, attention_bias: true }, RangeError, "attention_bias is true, expected no such key"],
    ["mlp_bias", { ...llama, mlp_bias: true }, RangeError, "mlp_bias is true, expected no such key"],
    [
      "bidirectional attention",
      { ...gemma3, use_bidirectional_attention: true },
      RangeError,
      "use_bidirectional_attention",
    ],
    ["quantization", { ...gemma3, quantization_config: { bits: 4 } }, RangeError, 'quantization_config is {"bits":4}'],
    ["a window in llama", { ...llama, sliding_window: 16 }, RangeError, "sliding_window is 16, expected no such key"],
    ["a soft-cap in gemma 1", { ...gemma1, final_logit_softcapping: 30 }, RangeError, "final_logit_softcapping is 30"],
    [
      "another activation",
      { ...gemma3, hidden_activation: "relu" },
      RangeError,
      'hidden_activation is "relu", expected',
    ],
    ["another llama activation", { ...llama, hidden_act: "gelu" }, RangeError, 'hidden_act is "gelu", expected silu'],
    [
      "a rope type",
      { ...llama, rope_scaling: { rope_type: "llama3", factor: 8 } },
      RangeError,
      'rope_scaling.rope_type is "llama3"',
    ],
    [
      "an old rope type",
      { ...llama, rope_scaling: { type: "yarn", factor: 8 } },
      RangeError,
      'rope_scaling.type is "yarn"',
    ],
    [
      "a linear rope without factor",
      { ...llama, rope_scaling: { type: "linear" } },
      TypeError,
      "rope_scaling.factor is missing",
    ],
    ["a factor without a type", { ...llama, rope_scaling: { factor: 8 } }, RangeError, "rope_scaling.factor is 8"],
    [
      "an unknown rope key",
      { ...llama, rope_scaling: { type: "linear", factor: 2, mscale: 1 } },
      RangeError,
      "rope_scaling.mscale",
    ],
    [
      "partial rotation",
      { ...gemma3, partial_rotary_factor: 0.25 },
      RangeError,
      "partial_rotary_factor is 0.25, expected 1",
    ],
    [
      "nested partial rotation",
      { ...gemma3, rope_parameters: { full_attention: { partial_rotary_factor: 0.25 } } },
      RangeError,
      "rope_parameters.full_attention.partial_rotary_factor is 0.25",
    ],
    [
      "flat rope_parameters in gemma 3",
      { ...gemma3, rope_parameters: { rope_theta: 1e6 } },
      RangeError,
      "rope_parameters.rope_theta",
    ],
    [
      "rope keys that disagree",
      { ...gemma3, rope_parameters: { full_attention: { rope_theta: 5e5 } } },
      RangeError,
      "rope_parameters.full_attention.rope_theta is 500000, expected 1000000 as in rope_theta",
    ],
    [
      "an unknown layer type",
      { ...gemma3, num_hidden_layers: 1, layer_types: ["chunked_attention"] },
      RangeError,
      "layer_types[0]",
    ],
    [
      "too few layer types",
      { ...gemma3, layer_types: [] },
      RangeError,
      "layer_types has 0 entries, expected num_hidden_layers 26",
    ],
    ["a window of null", { ...gemma3, sliding_window: null }, TypeError, "sliding_window is null, expected"],
    ["two windows", { ...gemma2, sliding_window_size: 17 }, RangeError, "sliding_window_size is 17, expected 16"],
    ["a pattern of 0", { ...gemma3, sliding_window_pattern: 0 }, RangeError, "sliding_window_pattern is 0, expected"],
    [
      "a billion layers",
      { ...gemma3, num_hidden_layers: 1e9 },
      RangeError,
      "num_hidden_layers is 1000000000, expected",
    ],
    [
      "half a layer",
      { ...gemma3, num_hidden_layers: 2.5 },
      RangeError,
      "num_hidden_layers is 2.5, expected an integer",
    ],
    [
      "a number as a string",
      { ...gemma3, hidden_size: "1152" },
      TypeError,
      'hidden_size is "1152", expected an integer',
    ],
    [
      "heads that do not divide",
      { ...gemma3, num_key_value_heads: 3 },
      RangeError,
      "num_key_value_heads is 3, expected a divisor",
    ],
    ["a ragged width", { ...gemma3, hidden_size: 1150 }, RangeError, "hidden_size is 1150, expected a multiple of 4"],
    ["a large head", { ...gemma3, head_dim: 512 }, RangeError, "head_dim is 512, expected a multiple of 4 up to 256"],
    [
      "heads that do not divide the width",
      { ...without(llama, "head_dim"), num_attention_heads: 12 },
      RangeError,
      "num_attention_heads is 12",
    ],
    ["an epsilon of 0", { ...gemma3, rms_norm_eps: 0 }, RangeError, "rms_norm_eps is 0, expected a number above 0"],
    ["a bos outside the vocabulary", { ...llama, bos_token_id: 512 }, RangeError, "bos_token_id is 512, expected"],
    [
      "an eos that is no id",
      { ...gemma3, eos_token_id: [1, "x"] },
      TypeError,
      'eos_token_id is [1,"x"], expected a token id',
    ],
    [
      "a tie that is no flag",
      { ...gemma3, tie_word_embeddings: "yes" },
      TypeError,
      'tie_word_embeddings is "yes", expected',
    ],
  ])("refuses %s", (_, json, type, message) => {
    let error: unknown
    try {
      parseConfig(json, "config.json")
    } catch (caught) {
      error = caught
    }
    expect(error).toBeInstanceOf(type)
    expect((error as Error).message).toContain(`config.json: ${message}`)
  })
})
