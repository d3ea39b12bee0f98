import { describe, expect, test } from "vitest"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import {
  adapterFiles,
  linearModules,
  linearWeight,
  mergeAdapters,
  type PeftAdapter,
  type PeftConfig,
  type PeftModule,
  parsePeftConfig,
  rankAndScale,
  readAdapter,
  targetModules,
} from "../../src/model/peft.ts"
import {
  type DType,
  encodeBf16,
  encodeF16,
  readFloat32,
  readHeader,
  type SafetensorsEntry,
} from "../../src/model/safetensors.ts"
import { memoryFolder, memorySource } from "../../src/model/source.ts"
import { expectClose } from "../helpers/compare.ts"
import { readFixture } from "../helpers/safetensors_fixture.ts"
import { adapted, plus } from "../reference/low_rank.ts"
import { type Files, json, readFolder, readGolden, safetensors, seededRandom } from "./fixture_folders.ts"

const golden = (name: string) => readFolder(`test/fixtures/goldens/${name}/adapter`)
const read = (files: Files) => readAdapter(memoryFolder("adapter", files))
const WEIGHTS = "adapter_model.safetensors"
const CONFIG = "adapter_config.json"
const Q = "model.layers.0.self_attn.q_proj"
const random = seededRandom(9)

type Tensors = Record<string, [shape: number[], values?: ArrayLike<number>, dtype?: DType]>

function bytesOf(values: ArrayLike<number>, dtype: DType): Uint8Array {
  const floats = Float32Array.from(values)
  if (dtype === "F64") return new Uint8Array(Float64Array.from(values).buffer)
  if (dtype === "BF16") return new Uint8Array(encodeBf16(floats).buffer)
  if (dtype === "F16") return new Uint8Array(encodeF16(floats).buffer)
  return dtype === "F32" ? new Uint8Array(floats.buffer) : new Uint8Array(floats.length)
}

/** An adapter folder of the given tensors, ones where no values are given. */
async function folder(config: Record<string, unknown>, tensors: Tensors): Promise<Files> {
  const entries = Object.entries(tensors).map(([name, [shape, values, dtype = "F32"]]): SafetensorsEntry => {
    const ones = new Float32Array(shape.reduce((size, extent) => size * extent, 1)).fill(1)
    return { name, dtype, shape, bytes: bytesOf(values ?? ones, dtype) }
  })
  const minimum = { peft_type: "LORA", target_modules: ["q_proj", "v_proj"] }
  return new Map([
    [CONFIG, json({ ...minimum, ...config })],
    [WEIGHTS, await safetensors(entries)],
  ])
}

const A = (path = Q) => `base_model.model.${path}.lora_A.weight`
const B = (path = Q) => `base_model.model.${path}.lora_B.weight`
/** Names of the tensors whose bytes differ. */
const changed = ({ before, after }: Merged) =>
  [...after].filter(([name, bytes]) => Buffer.compare(bytes, before.get(name)!) !== 0).map(([name]) => name)
/** The tensors of a module `[5, 3]` of the default rank. */
const pair = (path = Q, rank = 8): Tensors => ({ [A(path)]: [[rank, 3]], [B(path)]: [[5, rank]] })

describe("readAdapter", () => {
  test.each([
    ["tiny-gemma1", 3, 128],
    ["tiny-gemma2", 4, 128],
    ["tiny-gemma3", 8, 128],
  ])("reads what PEFT saved for %s", async (name, layers, out) => {
    const { config, modules } = await read(golden(name))
    expect(config).toMatchObject({ rank: 4, alpha: 8, baseModel: name, taskType: "CAUSAL_LM", useDora: false })
    expect(config.targets.modules).toEqual(["q_proj", "v_proj"])
    const paths = Array.from({ length: layers }, (_, i) => [`${i}.self_attn.q_proj`, `${i}.self_attn.v_proj`]).flat()
    expect([...modules.keys()]).toEqual(paths.map((path) => `model.layers.${path}`))
    const tensor = readFixture(`goldens/${name}/adapter/${WEIGHTS}`)
    for (const [path, module] of modules) {
      expect(module).toMatchObject({ rank: 4, scale: 2, in: 64 })
      expect(module.a).toEqual(tensor(A(path)))
      expect(module.b).toEqual(tensor(B(path)))
      expect(module.b.length).toBe(module.out * 4)
    }
    expect(modules.get(Q)!.out).toBe(out)
  })

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

  test("knows every float dtype and both ways to name the adapter", async () => {
    const values = [0.5, -1.25, 3]
    for (const dtype of ["F64", "F32", "F16", "BF16"] as const) {
      const tensors: Tensors = {
        [A().replace("lora_A", "lora_A.default")]: [[1, 3], values, dtype],
        [B().replace("lora_B", "lora_B.my-adapter_2")]: [[1, 1], [2], dtype],
      }
      const { a, b } = (await read(await folder({ r: 1 }, tensors))).modules.get(Q)!
      expect([...a, ...b]).toEqual([...values, 2])
    }
  })

  test.each(["lora_magnitude_vector", "lora_magnitude_vector.weight", "lora_magnitude_vector.default.weight"])(
    "reads DoRA's norms from %s",
    async (key) => {
      const tensors: Tensors = { ...pair(), [`base_model.model.${Q}.${key}`]: [[5], [1, 2, 3, 4, 5]] }
      const { config, modules } = await read(await folder({ use_dora: true }, tensors))
      expect(config.useDora).toBe(true)
      expect([...modules.get(Q)!.magnitude!]).toEqual([1, 2, 3, 4, 5])
    },
  )

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

  const embedding = "base_model.model.model.embed_tokens"
  test.each<[string, Tensors, string]>([
    ["no tensor", {}, "number of tensors is 0, expected an adapter's"],
    ["A alone", { [A()]: [[8, 3]] }, `${Q} lora_B.weight is missing, expected it beside the other`],
    ["B alone", { [B()]: [[5, 8]] }, `${Q} lora_A.weight is missing`],
    ["a B of another rank", { [A()]: [[8, 3]], [B()]: [[5, 4]] }, `${B()} is [5,4], expected [out, r] = [5,8]`],
    ["an A of one dimension", { [A()]: [[8]], [B()]: [[5, 8]] }, `${A()} is [8], expected [r, in] = [8,0]`],
    ["an A of three", { [A()]: [[8, 3, 1]], [B()]: [[5, 8]] }, `${A()} is [8,3,1], expected [r, in] = [8,3]`],
    ["an empty matrix", { [A()]: [[8, 0]], [B()]: [[5, 8]] }, `${A()} is [8,0], expected [r, in]`],
    ["integers", { [A()]: [[8, 3], undefined, "I8"], [B()]: [[5, 8]] }, `${A()} is I8, expected F64, F32, F16 or BF16`],
    [
      "NaN",
      {
        [A()]: [
          [8, 3],
          [...new Array(23).fill(1), Number.NaN],
        ],
        [B()]: [[5, 8]],
      },
      `${A()}[23] is NaN, expected a finite`,
    ],
    [
      "a value past float32",
      { ...pair(), [B()]: [[5, 8], new Array(40).fill(1e39), "F64"] },
      "is Infinity, expected a finite",
    ],
    [
      "two adapters in one file",
      { ...pair(), [A().replace("lora_A", "lora_A.b")]: [[8, 3]] },
      "lora_A.b.weight is beside",
    ],
    [
      "norms without DoRA",
      { ...pair(), [`base_model.model.${Q}.lora_magnitude_vector`]: [[5]] },
      "is there, expected use_dora to be true",
    ],
    [
      "an embedding's adapter",
      { ...pair(), [`${embedding}.lora_embedding_A`]: [[8, 3]] },
      `${embedding}.lora_embedding_A is the adapter of an embedding`,
    ],
    [
      "a whole weight",
      { ...pair(), "base_model.model.lm_head.weight": [[5, 3]] },
      "lm_head.weight is a whole weight (modules_to_save)",
    ],
    ["a bias", { ...pair(), [`base_model.model.${Q}.bias`]: [[5]] }, "q_proj.bias is a bias"],
    ["a bias of B", { ...pair(), [`base_model.model.${Q}.lora_B.bias`]: [[5]] }, "lora_B.bias is a bias"],
    [
      "another matrix",
      { ...pair(), [`base_model.model.${Q}.lora_diag.weight`]: [[8]] },
      "lora_diag.weight is of an unknown kind",
    ],
    ["a bare name", { "lora_A.weight": [[8, 3]] }, "lora_A.weight is not under base_model.model., expected"],
  ])("refuses %s", async (_, tensors, message) => {
    const error = await read(await folder({}, tensors)).then(
      () => undefined,
      (error: Error) => error,
    )
    expect(error?.message).toContain(message)
    expect(error?.message).toMatch(/^adapter_model\.safetensors: .*expected /)
  })

  test("refuses norms of another length", async () => {
    const tensors: Tensors = { ...pair(), [`base_model.model.${Q}.lora_magnitude_vector`]: [[4]] }
    await expect(read(await folder({ use_dora: true }, tensors))).rejects.toThrow("is [4], expected [out] = [5]")
  })

  test("refuses a folder without its files, and says how to leave the pickle", async () => {
    const files = golden("tiny-gemma1")
    const without = (name: string) => new Map([...files].filter(([file]) => file !== name))
    await expect(read(without(CONFIG))).rejects.toThrow("adapter: adapter_config.json is missing")
    await expect(read(without(WEIGHTS))).rejects.toThrow("adapter: adapter_model.safetensors is missing")
    const legacy = without(WEIGHTS).set("adapter_model.bin", new Uint8Array(10))
    await expect(read(legacy)).rejects.toThrow("adapter_model.bin is a pickle, expected adapter_model.safetensors")
    await expect(read(legacy)).rejects.toThrow(TypeError)
  })
})

describe("targetModules", () => {
  const paths = linearModules({ ...tinyConfig(), tiedHead: false }).map(({ path }) => path)
  const select = (modules: string[] | string, more = {}) => targetModules({ modules, ...more }, paths)

  test("takes a list of path ends, a regular expression over paths, or all-linear", () => {
    expect(paths.length).toBe(3 * 7 + 1)
    expect(select(["q_proj", "mlp.down_proj"])).toEqual(
      [0, 1, 2].flatMap((i) => [`model.layers.${i}.self_attn.q_proj`, `model.layers.${i}.mlp.down_proj`]),
    )
    expect(select([Q])).toEqual([Q])
    expect(select(".*layers\\.[02]\\..*(q|v)_proj").length).toBe(4)
    expect(select("all-linear")).toEqual(paths.slice(0, -1))
    expect(select(["lm_head"])).toEqual(["lm_head"])
  })

  test("leaves out what is excluded", () => {
    expect(select("all-linear", { exclude: ["self_attn.o_proj", "up_proj"] }).length).toBe(15)
    expect(select("all-linear", { exclude: ".*layers\\.[01].*" }).length).toBe(7)
  })

  test("keeps to the layers asked for, where a name is not a whole path", () => {
    expect(select(["q_proj"], { layersToTransform: [2] })).toEqual(["model.layers.2.self_attn.q_proj"])
    expect(select(["q_proj", Q], { layersToTransform: [2] }).length).toBe(2)
    expect(select(["q_proj"], { layersToTransform: [0, 1], layersPattern: ["layers"] }).length).toBe(2)
    expect(select(["q_proj"], { layersToTransform: [] }).length).toBe(3)
    expect(() => select(["q_proj"], { layersToTransform: [0], layersPattern: ["h"] })).toThrow(RangeError)
  })

  test("says what there is when nothing fits", () => {
    const all = "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head"
    expect(() => select(["query"])).toThrow(`targetModules: ["query"] is in no module, expected some of ${all}`)
    expect(() => select("q_proj")).toThrow(RangeError) // a whole path must match
    expect(() => select(["proj"])).toThrow(RangeError) // ends are cut at dots
    expect(() => select(["q_proj"], { layersToTransform: [7] })).toThrow("in layers [7]")
    expect(() => select("(")).toThrow(SyntaxError)
  })
})

function tinyConfig() {
  const config = { hiddenSize: 64, vocabSize: 320, intermediateSize: 128, numHeads: 4, numKvHeads: 1, headDim: 32 }
  return { ...config, numLayers: 3 } as unknown as Parameters<typeof linearModules>[0]
}

const basic = parsePeftConfig({ peft_type: "LORA" })

function module(rank: number, out: number, width: number, scale = 1): PeftModule {
  const values = (length: number) => Float32Array.from({ length }, () => random() - 0.5)
  return { rank, scale, in: width, out, a: values(rank * width), b: values(out * rank) }
}

function adapterOf(modules: Record<string, PeftModule>, change: Partial<PeftConfig> = {}): PeftAdapter {
  return {
    config: { ...basic, targets: { modules: "all-linear" }, ...change },
    modules: new Map(Object.entries(modules)),
  }
}

describe("adapterFiles", () => {
  test.each(["tiny-gemma1", "tiny-gemma2", "tiny-gemma3"])("writes %s's adapter as PEFT did", async (name) => {
    const files = golden(name)
    const adapter = await read(files)
    const written = await adapterFiles(adapter)
    expect([...written.keys()]).toEqual([CONFIG, WEIGHTS])
    expect(written.get(WEIGHTS)).toEqual(files.get(WEIGHTS))
    expect(await read(written)).toEqual(adapter)
    const parse = (files: Files) => JSON.parse(new TextDecoder().decode(files.get(CONFIG)))
    expect(parse(files)).toMatchObject(parse(written))
    expect(parse(written)).toMatchObject({
      peft_type: "LORA",
      r: 4,
      lora_alpha: 8,
      bias: "none",
      fan_in_fan_out: false,
    })
  })

  test("brings back config and bits: patterns, DoRA, rsLoRA, layers, dropout", async () => {
    const more = {
      rank: 3,
      alpha: 7.5,
      taskType: "CAUSAL_LM",
      baseModel: "base",
      rankPattern: new Map([["layers.1.*v_proj", 2]]),
      alphaPattern: new Map([["v_proj", 1]]),
      targets: { modules: ["q_proj", "v_proj"], exclude: ["x"], layersToTransform: [0, 1], layersPattern: ["layers"] },
      useRslora: true,
      useDora: true,
      dropout: 0.125,
    }
    const magnitude = Float32Array.of(1, 2, 3, -0, 5e-45)
    const modules = {
      "model.layers.1.self_attn.v_proj": { ...module(2, 5, 4, 1 / Math.sqrt(2)), magnitude },
      [Q]: { ...module(3, 5, 4, 7.5 / Math.sqrt(3)), magnitude },
    }
    const adapter = adapterOf(modules, more)
    const files = await adapterFiles(adapter)
    expect(await read(files)).toEqual(adapter)
    const header = await readHeader(memorySource(files.get(WEIGHTS)!), WEIGHTS)
    expect([...header.metadata]).toEqual([["format", "pt"]])
    const names = [...header.tensors.keys()]
    expect(names).toEqual(names.toSorted())
    expect(names).toContain(`base_model.model.${Q}.lora_magnitude_vector`)
  })

  test("refuses modules that the config would read back as something else", async () => {
    const fail = (module: PeftModule, change = {}) => adapterFiles(adapterOf({ [Q]: module }, change))
    await expect(fail(module(4, 5, 3))).rejects.toThrow(`adapterFiles: ${Q} rank is 4, expected 8 by the config`)
    await expect(fail(module(8, 5, 3, 2))).rejects.toThrow("scale is 2, expected 1")
    await expect(fail(module(8, 5, 3), { useDora: true })).rejects.toThrow("use of DoRA is false, expected true")
    await expect(fail(module(8, 5, 3), { targets: { modules: ["v_proj"] } })).rejects.toThrow("as a target is unlisted")
    await expect(fail({ ...module(8, 5, 3), out: 6 })).rejects.toThrow("is 160 bytes, expected 192")
  })
})

describe("rankAndScale", () => {
  test("divides alpha by the root of the rank with rsLoRA", () => {
    const plain = rankAndScale({ ...basic, rank: 16, alpha: 32 }, Q)
    const stabilised = rankAndScale({ ...basic, rank: 16, alpha: 32, useRslora: true }, Q)
    expect([plain.scale, stabilised.scale]).toEqual([2, 8])
  })
})

type Merged = {
  before: Map<string, Uint8Array>
  after: Map<string, Uint8Array>
  floats: (name: string) => Promise<Float32Array>
}

/** Merges into a checkpoint, through a written file. */
async function merge(files: Files, adapters: Parameters<typeof mergeAdapters>[1]): Promise<Merged> {
  const checkpoint = await openCheckpoint(memoryFolder("base", files))
  const bytes = await safetensors(mergeAdapters(checkpoint, adapters))
  const merged = new Map([...files].filter(([name]) => !/safetensors/.test(name))).set("model.safetensors", bytes)
  const opened = await openCheckpoint(memoryFolder("merged", merged))
  const raw = async ({ tensors }: typeof checkpoint) => {
    const pairs = [...tensors].map(async ([name, { source, info }]): Promise<[string, Uint8Array]> => {
      return [name, new Uint8Array(await source.slice(info.start, info.end))]
    })
    return new Map(await Promise.all(pairs))
  }
  const floats = (name: string) => readFloat32(opened.tensors.get(name)!.source, opened.tensors.get(name)!.info)
  return { before: await raw(checkpoint), after: await raw(opened), floats }
}

async function weightOf(files: Files, path: string): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(memoryFolder("base", files))
  const { source, info } = linearWeight(checkpoint, path)!
  return readFloat32(source, info)
}

describe("mergeAdapters", () => {
  test.each(["tiny-gemma1", "tiny-gemma2", "tiny-gemma3"])(
    "adds %s's adapter, and leaves every other byte",
    async (name) => {
      const files = readGolden(name)
      const adapter = await read(golden(name))
      const merged = await merge(files, [{ adapter }])
      expect([...merged.after.keys()]).toEqual([...merged.before.keys()])
      expect(changed(merged)).toEqual([...adapter.modules.keys()].map((path) => `${path}.weight`))
      for (const [path, module] of adapter.modules) {
        const expected = Float32Array.from(adapted(await weightOf(files, path), module))
        expectClose(await merged.floats(`${path}.weight`), expected, { absolute: 1e-7 }, { what: path })
      }
    },
  )

  test.each([
    ["tiny-gemma3-bf16", "BF16", 2 ** -8],
    ["tiny-gemma3-f16", "F16", 2 ** -11],
  ] as const)("rounds once to %s's %s", async (name, dtype, half) => {
    const files = readGolden(name)
    const weight = await weightOf(files, Q)
    const out = weight.length / 64
    const adapter = adapterOf({ [Q]: module(2, out, 64) })
    const merged = await merge(files, [{ adapter }])
    const exact = adapted(weight, adapter.modules.get(Q)!)
    const stored = await merged.floats(`${Q}.weight`)
    expect(Buffer.compare(merged.after.get(`${Q}.weight`)!, bytesOf(exact, dtype))).toBe(0)
    for (const [i, value] of stored.entries()) {
      expect(Math.abs(value - exact[i]!)).toBeLessThanOrEqual(Math.abs(exact[i]!) * half * 1.001 + 2 ** -25)
    }
    expect(changed(merged)).toEqual([`${Q}.weight`])
  })

  test("gives DoRA's rows their norms", async () => {
    const files = readGolden("tiny-gemma3")
    const magnitude = Float32Array.from({ length: 128 }, () => random() + 0.5)
    const adapter = adapterOf({ [Q]: { ...module(3, 128, 64, 1.5), magnitude } }, { useDora: true })
    const { floats } = await merge(files, [{ adapter }])
    const merged = await floats(`${Q}.weight`)
    const expected = adapted(await weightOf(files, Q), adapter.modules.get(Q)!)
    expectClose(merged, expected, { absolute: 4e-8 }, { what: Q })
    for (let row = 0; row < 128; row++) {
      expect(Math.hypot(...merged.subarray(row * 64, (row + 1) * 64))).toBeCloseTo(magnitude[row]!, 5)
    }
  })

  test("adds what each of several adapters would change alone, as much as asked", async () => {
    const files = readGolden("tiny-gemma3")
    const weight = await weightOf(files, Q)
    const magnitude = Float32Array.from({ length: 128 }, () => random() + 0.5)
    const plain = adapterOf({ [Q]: module(3, 128, 64) })
    const dora = adapterOf({ [Q]: { ...module(2, 128, 64), magnitude } }, { useDora: true })
    const change = (adapter: PeftAdapter) => plus(adapted(weight, adapter.modules.get(Q)!), weight, -1)
    const expected = plus(plus(weight, change(plain), 0.5), change(dora), -0.25)
    for (const order of [
      [
        { adapter: plain, weight: 0.5 },
        { adapter: dora, weight: -0.25 },
      ],
      [
        { adapter: dora, weight: -0.25 },
        { adapter: plain, weight: 0.5 },
      ],
    ]) {
      const { floats } = await merge(files, order)
      expectClose(await floats(`${Q}.weight`), expected, { absolute: 4e-8 }, { what: Q })
    }
    expect(changed(await merge(files, [{ adapter: plain }, { adapter: plain, weight: -1 }]))).toEqual([])
  })

  test("changes no bit when B is zero", async () => {
    const files = readGolden("tiny-gemma3-bf16")
    const bytes = files.get("model.safetensors")!
    const { tensors } = await readHeader(memorySource(bytes), "model.safetensors")
    bytes.set([0, 0x80], tensors.get(`${Q}.weight`)!.start) // a weight of -0
    const out = (await weightOf(files, Q)).length / 64
    const zero = { ...module(4, out, 64), b: new Float32Array(out * 4) }
    expect(changed(await merge(files, [{ adapter: adapterOf({ [Q]: zero }) }]))).toEqual([])
  })

  test("finds modules by the names of other transformers versions, sharded and multimodal checkpoints too", async () => {
    for (const name of ["tiny-gemma3-mm", "tiny-gemma3-rope8-sharded"]) {
      const files = readGolden(name)
      const inner = "layers.1.mlp.down_proj"
      const weight = await weightOf(files, `model.${inner}`)
      const [out, width] = [64, weight.length / 64]
      for (const prefix of ["model.", "model.language_model.", "language_model.model.", ""]) {
        const adapter = adapterOf({ [prefix + inner]: module(2, out, width) })
        const names = changed(await merge(files, [{ adapter }]))
        expect(names.map((name) => name.endsWith(`${inner}.weight`))).toEqual([true])
      }
    }
  })

  test("streams a matrix of many pieces, with at most one in memory", async () => {
    const files = readGolden("tiny-gemma1")
    const checkpoint = await openCheckpoint(memoryFolder("base", files))
    const wide = 3 * 2 ** 19 // a row of 6 MiB, more than a piece
    const values = Float32Array.from({ length: 3 * wide }, (_, i) => i % 1000)
    const source = memorySource(new Uint8Array(values.buffer))
    const info = { name: `${Q}.weight`, dtype: "F32", shape: [3, wide], start: 0, end: values.byteLength } as const
    const stored = { file: "model.safetensors", source, info }
    const weights = new Map([
      ["layers.0.attention.q", { ...checkpoint.weights.get("layers.0.attention.q")!, ...stored }],
    ])
    const tensors = new Map([[info.name, stored]])
    const one = { ...module(1, 3, wide), a: new Float32Array(wide).fill(2), b: Float32Array.of(1, 2, 3) }
    const [entry] = mergeAdapters({ ...checkpoint, tensors, weights }, [{ adapter: adapterOf({ [Q]: one }) }])
    const bytes = entry!.bytes as () => AsyncIterable<Uint8Array>
    let row = 0
    for await (const chunk of bytes()) {
      const merged = new Float32Array(chunk.buffer, chunk.byteOffset, wide)
      expect(chunk.byteLength).toBe(4 * wide)
      expect([merged[0], merged.at(-1)]).toEqual([
        values[row * wide]! + 2 * (row + 1),
        values[row * wide + wide - 1]! + 2 * (row + 1),
      ])
      row++
    }
    expect(row).toBe(3)
  })

  test.each<[string, Record<string, PeftModule>, string]>([
    [
      "a layer that is not there",
      { "model.layers.9.self_attn.q_proj": module(8, 128, 64) },
      "model.layers.9.self_attn.q_proj is [128, 64], expected a linear module of base (is the adapter for another base?)",
    ],
    [
      "an embedding",
      { "model.embed_tokens": module(8, 320, 64) },
      "model.embed_tokens is [320, 64], expected a linear module",
    ],
    ["a norm", { "model.norm": module(8, 64, 1) }, "model.norm is [64, 1], expected a linear module"],
    ["the head of a tied model", { lm_head: module(8, 320, 64) }, "its head is the embedding"],
    [
      "another size",
      { [Q]: module(8, 128, 32) },
      `${Q} is [128, 32], expected [out, in] = [128, 64] (is the adapter for another base?)`,
    ],
  ])("refuses %s", async (_, modules, message) => {
    const checkpoint = await openCheckpoint(memoryFolder("base", readGolden("tiny-gemma1")))
    const fail = () => mergeAdapters(checkpoint, [{ adapter: adapterOf(modules) }])
    expect(fail).toThrow(RangeError)
    expect(fail).toThrow(message)
  })

  test("refuses values that the dtype cannot hold, and weights that are no numbers", async () => {
    const files = readGolden("tiny-gemma3-f16")
    const out = (await weightOf(files, Q)).length / 64
    const huge = { ...module(1, out, 64), a: new Float32Array(64).fill(300), b: new Float32Array(out).fill(300) }
    const adapter = adapterOf({ [Q]: huge })
    await expect(merge(files, [{ adapter }])).rejects.toThrow("after the merge, expected a value that F16 can hold")
    await expect(merge(files, [{ adapter, weight: Number.NaN }])).rejects.toThrow("weight is NaN")
    const vast = { ...huge, a: new Float32Array(64).fill(3e38) }
    await expect(merge(readGolden("tiny-gemma3"), [{ adapter: adapterOf({ [Q]: vast }) }])).rejects.toThrow(
      "F32 can hold",
    )
    await expect(merge(readGolden("tiny-gemma3-bf16"), [{ adapter: adapterOf({ [Q]: vast }) }])).rejects.toThrow(
      "BF16 can hold",
    )
  })
})

/** One change somewhere in the folder: a file gone, cut, or with a byte, a number or a key of its JSON changed. */
function mutated(files: Files): Files {
  const name = random() < 0.5 ? CONFIG : WEIGHTS
  const bytes = files.get(name)!
  const reach = name === CONFIG ? bytes.length : Math.min(bytes.length, 4000)
  const at = Math.floor(random() * reach)
  const copy = new Map(files)
  const kind = random()
  if (kind < 0.03) copy.delete(name)
  else if (kind < 0.15) copy.set(name, bytes.slice(0, at))
  else if (kind < 0.55 || name === WEIGHTS) {
    const flipped = bytes.slice()
    const digit = flipped[at]! >= 0x30 && flipped[at]! <= 0x39
    flipped[at] = digit ? 0x30 + Math.floor(random() * 10) : flipped[at]! ^ (1 << Math.floor(random() * 8))
    copy.set(name, flipped)
  } else {
    const config = JSON.parse(new TextDecoder().decode(bytes))
    const keys = Object.keys(config)
    const values = [
      null,
      true,
      -1,
      0.5,
      2 ** 53,
      "",
      "(",
      "x",
      [],
      ["x"],
      [null],
      {},
      { a: "b" },
      { "(": 1 },
      { __proto__: 1 },
    ]
    config[keys[Math.floor(random() * keys.length)]!] = values[Math.floor(random() * values.length)]
    copy.set(name, json(config))
  }
  return copy
}

test("readAdapter reads or clearly refuses 1000 mutated folders", async () => {
  const folders = ["tiny-gemma1", "tiny-gemma2", "tiny-gemma3"].map(golden)
  const outcomes: Record<string, number> = {}
  for (let i = 0; i < 1000; i++) {
    const error: unknown = await read(mutated(folders[i % 3]!)).then(
      () => undefined,
      (error) => error,
    )
    const kind = error instanceof Error ? error.constructor.name : String(error)
    outcomes[kind] = (outcomes[kind] ?? 0) + 1
    if (error === undefined) continue
    const { message } = error as Error
    const known = error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError
    if (!known || !/^(adapter|adapter_config\.json|adapter_model\.safetensors): .*expected /s.test(message)) {
      throw new Error(`mutation ${i} gave ${kind}: ${message}`, { cause: error })
    }
  }
  for (const kind of ["undefined", "SyntaxError", "RangeError", "TypeError"]) expect(outcomes[kind]).toBeGreaterThan(20)
})
