import { describe, expect, test } from "vitest"
import { type ConfigOptions, parseConfig, parseGenerationConfig } from "../../src/model/config.ts"
import { embeddingScaleFor } from "../../src/model/transformer_config.ts"
import { transformer } from "../helpers/transformer.ts"
import { fixtureJson } from "./fixture_folders.ts"
import { config4B, gemma3Sizes, sparseConfig } from "./gemma3_sizes.ts"

const parse = (json: unknown, options?: ConfigOptions) => transformer(parseConfig(json, "config.json", options))
const gemma3 = fixtureJson("gemma-configs/gemma-3-1b-it.config.json")
const gemma2 = fixtureJson("goldens/tiny-gemma2/config.json")
const gemma1 = fixtureJson("goldens/tiny-gemma1/config.json")
const llama = fixtureJson("stories260K/config.json")
const without = (json: Record<string, unknown>, ...keys: string[]) =>
  Object.fromEntries(Object.entries(json).filter(([key]) => !keys.includes(key)))
const windows = (config: ReturnType<typeof parse>) => config.layers.map(({ window }) => window)
const globals = (config: ReturnType<typeof parse>) =>
  config.layers.flatMap(({ window }, i) => (window === null ? [i] : []))

describe("parseConfig", () => {
  test("reads the old keys of Gemma 3 1B", () => {
    const config = parse(gemma3)
    expect(config).toMatchObject({
      modelType: "gemma3_text",
      vocabSize: 262144,
      hiddenSize: 1152,
      intermediateSize: 6912,
      numLayers: 26,
      numHeads: 4,
      numKvHeads: 1,
      headDim: 256,
      maxPositions: 32768,
      eps: 1e-6,
      activation: "gelu_tanh",
      attentionScale: 1 / 16,
      attentionSoftcap: null,
      finalSoftcap: null,
      normOffset: 1,
      qkNorm: true,
      sandwichNorms: true,
      embeddingScale: Math.sqrt(1152),
      tiedHead: true,
      bos: 2,
      eos: [1, 106],
      pad: 0,
    })
    expect(globals(config)).toEqual([5, 11, 17, 23])
    expect(config.layers[0]).toEqual({ window: 512, rope: { theta: 1e4, factor: 1 } })
    expect(config.layers[5]).toEqual({ window: null, rope: { theta: 1e6, factor: 1 } })
  })

  test("fills a sparse text_config with the class defaults", () => {
    const config = parse(config4B)
    expect(config).toMatchObject({
      modelType: "gemma3_text",
      vocabSize: 262208,
      numHeads: 8,
      numKvHeads: 4,
      headDim: 256,
      attentionScale: 1 / 16,
      maxPositions: 131072,
      tiedHead: true,
      bos: 2,
      eos: [1, 106],
      pad: 0,
    })
    expect(globals(config)).toEqual([5, 11, 17, 23, 29])
    expect(config.layers[0]).toEqual({ window: 1024, rope: { theta: 1e4, factor: 1 } })
    expect(config.layers[5]!.rope).toEqual({ theta: 1e6, factor: 8 })
    const bare = parse(without(gemma3, "sliding_window", "sliding_window_pattern", "rope_theta", "eos_token_id"))
    expect(bare.layers[0]!.window).toBe(4096)
    expect(globals(bare)).toEqual([5, 11, 17, 23])
    expect(bare.eos).toEqual([1])
  })

  test("scales 27B's queries by 168^(-1/2)", () => {
    expect(gemma3Sizes()["27B"].attentionScale).toBeCloseTo(168 ** -0.5, 15)
  })

  test("prefers layer_types to a pattern, and the pattern's both spellings to the default", () => {
    const small = { ...without(gemma3, "sliding_window_pattern"), num_hidden_layers: 4 }
    const types = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    expect(globals(parse({ ...small, layer_types: types, sliding_window_pattern: 2 }))).toEqual([0, 3])
    expect(globals(parse({ ...small, sliding_window_pattern: 2 }))).toEqual([1, 3])
    expect(globals(parse({ ...small, _sliding_window_pattern: 3 }))).toEqual([2])
    expect(globals(parse(small))).toEqual([])
  })

  test("reads the same model from old, new and doubled rope keys", () => {
    const old = parse(sparseConfig({ hidden_size: 64, intermediate_size: 64, num_hidden_layers: 6 }))
    const rope_parameters = {
      full_attention: { rope_type: "linear", rope_theta: 1e6, factor: 8 },
      sliding_attention: { rope_type: "default", rope_theta: 1e4 },
    }
    const text = { hidden_size: 64, intermediate_size: 64, num_hidden_layers: 6, rope_parameters }
    expect(parse(sparseConfig({ ...text, rope_scaling: null }))).toEqual(old)
    expect(parse(sparseConfig({ ...text, rope_theta: 1e6, rope_local_base_freq: 1e4 }))).toEqual(old)
    const typed = { rope_scaling: { type: "linear", factor: 8 } }
    expect(parse(sparseConfig({ ...text, rope_parameters: null, ...typed }))).toEqual(old)
    const partial = { ...text, rope_parameters: { full_attention: { rope_theta: 1e6 } } }
    expect(parse(sparseConfig(partial))).toEqual(old)
  })

  test("scales every layer of the families with one rope", () => {
    for (const json of [gemma1, gemma2, llama]) {
      const config = parse({ ...json, rope_scaling: { rope_type: "linear", factor: 2 } })
      for (const { rope } of config.layers) expect(rope).toEqual({ theta: 1e4, factor: 2 })
      const flat = parse({ ...without(json, "rope_theta"), rope_parameters: { rope_type: "default", rope_theta: 5e5 } })
      for (const { rope } of flat.layers) expect(rope).toEqual({ theta: 5e5, factor: 1 })
    }
  })

  test("gives Gemma 2 its soft-caps and alternating windows, null meaning no cap", () => {
    const config = parse(gemma2)
    expect(config).toMatchObject({ attentionSoftcap: 50, finalSoftcap: 30, qkNorm: false, sandwichNorms: true })
    expect(config.attentionScale).toBe(24 ** -0.5)
    expect(windows(config)).toEqual([16, null, 16, null])
    const bare = parse(without(gemma2, "attn_logit_softcapping", "final_logit_softcapping", "sliding_window"))
    expect(bare).toMatchObject({ attentionSoftcap: 50, finalSoftcap: 30 })
    expect(windows(bare)).toEqual([4096, null, 4096, null])
    const none = parse({ ...gemma2, attn_logit_softcapping: null, final_logit_softcapping: null })
    expect(none).toMatchObject({ attentionSoftcap: null, finalSoftcap: null })
    expect(windows(parse({ ...gemma2, sliding_window_size: 16 }))).toEqual([16, null, 16, null])
  })

  test("ignores Gemma 3's attention soft-cap and keeps its final one", () => {
    const config = parse({ ...gemma3, attn_logit_softcapping: 50, final_logit_softcapping: 30 })
    expect(config).toMatchObject({ attentionSoftcap: null, finalSoftcap: 30 })
  })

  test("takes Gemma 1's gelu for the tanh form, unless hidden_activation says otherwise", () => {
    expect(parse(gemma1)).toMatchObject({ activation: "gelu_tanh", sandwichNorms: false, attentionScale: 32 ** -0.5 })
    expect(windows(parse(gemma1))).toEqual([null, null, null])
    const bare = without(gemma1, "hidden_activation")
    expect(parse({ ...bare, hidden_act: "gelu" }).activation).toBe("gelu_tanh")
    expect(parse({ ...bare, hidden_act: "gelu", hidden_activation: null }).activation).toBe("gelu_tanh")
    expect(() => parse({ ...bare, hidden_activation: "gelu" })).toThrow('hidden_activation is "gelu", expected')
  })

  test("gives Llama plain norms, its own defaults and a head of its own", () => {
    const config = parse(without(llama, "tie_word_embeddings", "head_dim", "num_key_value_heads", "rope_theta"))
    expect(config).toMatchObject({ activation: "silu", normOffset: 0, embeddingScale: 1, qkNorm: false })
    expect(config).toMatchObject({ tiedHead: false, headDim: 8, numKvHeads: 8, bos: 1, eos: [2], pad: null })
    expect(config.layers[0]).toEqual({ window: null, rope: { theta: 1e4, factor: 1 } })
    expect(parse({ ...llama, pad_token_id: -1 }).pad).toBeNull()
  })

  test("reads every config of the fixtures", () => {
    for (const name of ["tiny-gemma3", "tiny-gemma3-bf16", "tiny-gemma3-f16", "tiny-gemma3-rope8-sharded"]) {
      const config = parse(fixtureJson(`goldens/${name}/config.json`))
      expect(windows(config)).toEqual([16, 16, 16, 16, 16, null, 16, 16])
      expect(config.layers[5]!.rope).toEqual({ theta: 1e6, factor: name.includes("rope8") ? 8 : 1 })
    }
    const mm = parse(fixtureJson("goldens/tiny-gemma3-mm/config.json"))
    expect(windows(mm)).toEqual([16, null, 16])
    expect(mm.eos).toEqual([1, 106])
  })

  test("lets harmless, private, null and false keys pass", () => {
    const extra = {
      unsloth_fixed: true,
      _name_or_path: "x",
      torch_dtype: "float16",
      id2label: { 0: "A" },
      new_key: null,
    }
    expect(parse({ ...gemma3, ...extra, attention_bias: false, num_experts: false })).toEqual(parse(gemma3))
  })

  test("lets ignoreKeys pass what it would refuse", () => {
    const json = { ...gemma3, use_bidirectional_attention: true }
    expect(parse(json, { ignoreKeys: ["use_bidirectional_attention"] })).toEqual(parse(gemma3))
    const nested = sparseConfig({ hidden_size: 64, intermediate_size: 64, num_hidden_layers: 6, novelty: 3 })
    expect(parse(nested, { ignoreKeys: ["novelty"] }).hiddenSize).toBe(64)
  })

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
      parse(json)
    } catch (caught) {
      error = caught
    }
    expect(error).toBeInstanceOf(type)
    expect((error as Error).message).toContain(`config.json: ${message}`)
  })
})

describe("embeddingScaleFor", () => {
  test.each([
    [640, 25.25],
    [1152, 34],
    [2560, 50.5],
    [3840, 62],
    [5376, 73.5],
  ])("rounds sqrt(%d) to %d for bfloat16 alone", (hidden_size, rounded) => {
    const config = parse({ ...gemma3, hidden_size })
    expect(embeddingScaleFor(config, "BF16")).toBe(rounded)
    expect(embeddingScaleFor(config, "F32")).toBe(Math.sqrt(hidden_size))
    expect(embeddingScaleFor(config, "F16")).toBe(Math.sqrt(hidden_size))
  })

  test("is 1 for llama", () => {
    expect(embeddingScaleFor(parse(llama), "BF16")).toBe(1)
  })
})

describe("parseGenerationConfig", () => {
  const read = (json: unknown) => parseGenerationConfig(json, "generation_config.json")

  test("reads the published file of the Gemma 3 chat models", () => {
    const config = read(fixtureJson("gemma-configs/gemma-3-it.generation_config.json"))
    expect(config).toEqual({ eos: [1, 106], doSample: true, topK: 64, topP: 0.95 })
  })

  test("takes one eos, none, and null for absent", () => {
    expect(read({ eos_token_id: 106, temperature: null })).toEqual({ eos: [106] })
    expect(read({})).toEqual({ eos: [] })
    expect(read({ temperature: 0.7, min_p: 0.1, repetition_penalty: 1.1 })).toEqual({
      eos: [],
      temperature: 0.7,
      minP: 0.1,
      repetitionPenalty: 1.1,
    })
  })

  test.each([
    [null, TypeError],
    [{ temperature: "hot" }, TypeError],
    [{ top_p: 1.5 }, RangeError],
    [{ top_k: -1 }, RangeError],
    [{ repetition_penalty: 0 }, RangeError],
    [{ eos_token_id: -1 }, RangeError],
    [{ do_sample: 1 }, TypeError],
  ])("refuses %j", (json, type) => {
    expect(() => read(json)).toThrow(type)
    expect(() => read(json)).toThrow(/^generation_config\.json: /)
  })
})
