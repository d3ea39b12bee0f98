import { describe, expect, test } from "vitest"
import { adapterFiles, type PeftModule } from "../../src/model/peft.ts"
import { readHeader } from "../../src/model/safetensors.ts"
import { memorySource } from "../../src/model/source.ts"
import { readFixture } from "../helpers/safetensors_fixture.ts"
import { type Files, json, seededRandom } from "./fixture_folders.ts"
import {
  A,
  adapterOf,
  B,
  CONFIG,
  folder,
  golden,
  module,
  pair,
  Q,
  read,
  type Tensors,
  WEIGHTS,
} from "./peft_folders.ts"

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

const random = seededRandom(9)

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
