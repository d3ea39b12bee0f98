import { describe, expect, test } from "vitest"
import { type ConfigOptions, parseConfig } from "../../src/model/config.ts"
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
