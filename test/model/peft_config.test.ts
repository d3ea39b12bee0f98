import { describe, expect, test } from "vitest"
import { rankAndScale } from "../../src/model/peft.ts"
import { expectClose } from "../helpers/compare.ts"
import { A, basic, folder, pair, Q, read } from "./peft_folders.ts"

describe("the config of readAdapter", () => {
  test("fills in PEFT's defaults, rank 8 and alpha 8 among them", async () => {
    const { config, modules } = await read(await folder({}, pair()))
    expect(config).toEqual({
      taskType: undefined,
      baseModel: undefined,
      rank: 8,
      alpha: 8,
      rankPattern: new Map(),
      alphaPattern: new Map(),
      targets: { modules: ["q_proj", "v_proj"] },
      useRslora: false,
      useDora: false,
      dropout: 0,
    })
    expect(modules.get(Q)).toMatchObject({ rank: 8, scale: 1, in: 3, out: 5 })
    expect((await read(await folder({ target_modules: null }, pair()))).config).toEqual(config)
  })

  test("gives each module the rank and alpha of the first pattern that fits its end, and rsLoRA's scale", async () => {
    const [first, tenth, v] = [Q, Q.replace("0", "10"), "model.layers.0.self_attn.v_proj"]
    const config = {
      r: 2,
      lora_alpha: 6,
      rank_pattern: { "layers\\.1.\\.self_attn.q_proj": 4, "^model.layers.0.self_attn.v_proj": 1, v_proj: 9 },
      alpha_pattern: { proj: 5, "self_attn.q_proj": 12, v_proj: 3 },
    }
    const tensors = { ...pair(first, 2), ...pair(tenth, 4), ...pair(v, 1) }
    const ranks = async (more = {}) => [...(await read(await folder({ ...config, ...more }, tensors))).modules.values()]
    expect((await ranks()).map(({ rank, scale }) => [rank, scale])).toEqual([
      [2, 6],
      [4, 3],
      [1, 3],
    ])
    const scales = (await ranks({ use_rslora: true })).map(({ scale }) => scale)
    expectClose(scales, [12 / Math.sqrt(2), 6, 3], { absolute: 1e-15 }, { what: "scale" })
  })

  test("accepts what only tells how training began or is to be run", async () => {
    const harmless = {
      init_lora_weights: "gaussian",
      inference_mode: false,
      eva_config: { rho: 2 },
      loftq_config: { bits: 4 },
      megatron_core: "megatron.core",
      peft_version: "0.20",
      qalora_group_size: 16,
      revision: "main",
      auto_mapping: { base_model_class: "Gemma3ForCausalLM" },
      modules_to_save: [],
      some_new_switch: false,
      some_new_config: null,
      some_new_list: [],
      some_new_object: {},
      some_new_text: "",
    }
    expect((await read(await folder(harmless, pair()))).modules.size).toBe(1)
  })

  test.each<[Record<string, unknown>, string]>([
    [{ peft_type: "IA3" }, 'adapter_config.json: peft_type is "IA3", expected LORA'],
    [{ peft_type: null }, "peft_type is null, expected LORA"],
    [{ r: 0 }, "r is 0, expected an integer of 1"],
    [{ r: "8" }, 'r is "8", expected an integer'],
    [{ lora_alpha: -1 }, "lora_alpha is -1, expected a number above 0"],
    [{ lora_dropout: 1 }, "lora_dropout is 1, expected a number of [0, 1)"],
    [{ lora_dropout: "0" }, 'lora_dropout is "0", expected a number'],
    [{ task_type: 3 }, "task_type is 3, expected a string"],
    [{ bias: "all" }, 'bias is "all", expected none'],
    [{ fan_in_fan_out: true }, "fan_in_fan_out is true, expected false"],
    [{ lora_bias: true }, "lora_bias is true, expected false"],
    [{ use_qalora: true }, "use_qalora is true, expected false"],
    [{ modules_to_save: ["lm_head"] }, 'modules_to_save is ["lm_head"], expected null'],
    [{ init_lora_weights: "pissa" }, 'init_lora_weights is "pissa", expected true (the adapter fits a changed base'],
    [{ init_lora_weights: "pissa_niter_4" }, 'init_lora_weights is "pissa_niter_4"'],
    [{ init_lora_weights: "olora" }, 'init_lora_weights is "olora"'],
    [{ init_lora_weights: "loftq" }, 'init_lora_weights is "loftq"'],
    [{ alora_invocation_tokens: [1] }, "alora_invocation_tokens is [1], expected no such key"],
    [{ use_bdlora: { a: 1 } }, 'use_bdlora is {"a":1}, expected no such key'],
    [{ layer_replication: [[0, 4]] }, "layer_replication is [[0,4]], expected no such key"],
    [{ trainable_token_indices: [5] }, "trainable_token_indices is [5], expected no such key"],
    [{ target_parameters: ["w"] }, 'target_parameters is ["w"], expected no such key'],
    [{ kasa_config: { beta: 1 } }, "kasa_config is"],
    [{ some_new_switch: true }, "some_new_switch is true, expected no such key"],
    [{ target_modules: 3 }, "target_modules is 3, expected names or a regular expression"],
    [{ target_modules: "(" }, 'target_modules is "(", expected a regular expression'],
    [{ target_modules: ["k_proj"] }, `${Q} is an adapted module, expected one of target_modules ["k_proj"]`],
    [{ exclude_modules: ["q_proj"] }, `${Q} is an adapted module`],
    [{ exclude_modules: "[" }, 'exclude_modules is "[", expected a regular expression'],
    [{ layers_to_transform: [1] }, `${Q} is an adapted module`],
    [{ layers_to_transform: ["a"] }, 'layers_to_transform is ["a"], expected layer numbers'],
    [{ layers_pattern: "(?<layer>" }, 'layers_pattern is "(?<layer>", expected a regular expression'],
    [{ layers_pattern: ["(?<layer>h)"] }, 'layers_pattern is "(?<layer>h)", expected a regular expression'],
    [{ rank_pattern: [4] }, "rank_pattern is [4], expected an object"],
    [{ rank_pattern: { q_proj: 1.5 } }, "rank_pattern.q_proj is 1.5, expected an integer of 1"],
    [{ rank_pattern: { "(": 4 } }, 'rank_pattern has "(", expected a regular expression'],
    [{ rank_pattern: { q_proj: 4 } }, `${A()} is [8,3], expected [r, in] = [4,3]`],
    [{ alpha_pattern: { q_proj: 0 } }, "alpha_pattern.q_proj is 0, expected a number above 0"],
    [{ r: 4 }, `${A()} is [8,3], expected [r, in] = [4,3] (r by adapter_config.json)`],
    [{ use_rslora: 1 }, "use_rslora is 1, expected true or false"],
    [{ use_dora: true }, `${Q} lora_magnitude_vector is missing, expected use_dora to be false`],
  ])("refuses the config %j", async (config, message) => {
    const files = await folder(config, pair())
    await expect(read(files)).rejects.toThrow(message)
  })
})

describe("rankAndScale", () => {
  test("divides alpha by the root of the rank with rsLoRA", () => {
    const plain = rankAndScale({ ...basic, rank: 16, alpha: 32 }, Q)
    const stabilised = rankAndScale({ ...basic, rank: 16, alpha: 32, useRslora: true }, Q)
    expect([plain.scale, stabilised.scale]).toEqual([2, 8])
  })
})
