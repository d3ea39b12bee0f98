import { afterEach, describe, expect, test } from "vitest"
import {
  type Folder,
  inputMoments,
  type LanguageModel,
  type LoadOptions,
  load,
  type MemoryStore,
  memoryFolder,
  memorySource,
  memoryStore,
  open,
  type QuantizeOptions,
  quantize,
  randomCheckpoint,
  readAdapter,
  type TuneOptions,
  tune,
} from "../src/index.ts"
import { decodeToFloat32 } from "../src/model/dtype.ts"
import { readHeader, type SafetensorsEntry } from "../src/model/safetensors.ts"
import { pathFolder } from "../src/platform/node_files.ts"
import { internals } from "../src/session.ts"
import { expectClose } from "./helpers/compare.ts"
import { testDeviceKind } from "./helpers/device.ts"
import { ggufOf } from "./helpers/gguf_conversion.ts"
import { fixture, golden } from "./helpers/golden.ts"
import { random } from "./helpers/kernels.ts"
import { type Files, readGolden, repositoryPath, safetensors } from "./model/fixture_folders.ts"
import * as reference from "./reference/quantized.ts"

const FILE = "model.safetensors"
const DTYPES = ["q4", "q8"] as const
const device = testDeviceKind()
const ADAPTER = fixture("goldens/tiny-gemma3/adapter")
const IDS = golden("goldens/tiny-gemma3").prompts[4]!.ids // 40 tokens, past the window of 16
/** All widths are multiples of 32; the rows of k and v are 32, so that projections lie behind one another. */
const CONFIG = {
  model_type: "gemma3_text",
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 32,
  vocab_size: 512,
  sliding_window: 16,
  layer_types: ["sliding_attention", "full_attention"],
  max_position_embeddings: 256,
  rms_norm_eps: 1e-6,
  query_pre_attn_scalar: 32,
  rope_theta: 1e6,
  rope_local_base_freq: 1e4,
  hidden_activation: "gelu_pytorch_tanh",
  bos_token_id: 2,
  eos_token_id: 1,
  pad_token_id: 0,
  initializer_range: 0.2,
}

const STORYTELLER = pathFolder(repositoryPath("weights/storyteller"))
const STORIES = Array.from({ length: 6 }, (_, i) => ({ text: `Once there was a ${["cat", "dog"][i % 2]}. The end.` }))
const METHODS: Record<string, TuneOptions> = {
  lora: {},
  dora: { dora: true },
  pissa: { init: "pissa" },
  olora: { init: "olora" },
  lamda: { method: "lamda" },
}

const opened: LanguageModel[] = []
afterEach(async () => {
  for (const lm of opened.splice(0)) await lm.dispose()
})

async function model(folder: Folder, options: LoadOptions = {}): Promise<LanguageModel> {
  const lm = await load(folder, { device, context: 64, chunk: 32, ...options })
  opened.push(lm)
  return lm
}

const randomModel = () => randomCheckpoint(CONFIG, { seed: 5 })

async function quantized(folder: Folder, options: QuantizeOptions): Promise<MemoryStore> {
  const store = memoryStore()
  await quantize(folder, store, { device, ...options })
  return store
}

/** What a prompt and an answer, token by token, come to. */
async function outputs(lm: LanguageModel) {
  const ids = IDS.map((id) => id % lm.config.vocabSize)
  const { data } = await lm.logits(ids)
  const answer = lm.generate(ids.slice(0, 20), { temperature: 0, maxTokens: 8, ignoreEos: true })
  for await (const _ of answer);
  return { data, tokens: answer.tokens }
}

const length = (x: Float32Array) => Math.hypot(...x)

/** The tensors of a file with their bytes. */
async function tensorsOf(files: ReadonlyMap<string, Uint8Array>) {
  const bytes = files.get(FILE)!
  const { tensors } = await readHeader(memorySource(bytes), FILE)
  return new Map([...tensors].map(([name, info]) => [name, { ...info, bytes: bytes.slice(info.start, info.end) }]))
}

/** The same files with tensors changed; one that becomes undefined is gone. */
async function changed(
  files: ReadonlyMap<string, Uint8Array>,
  change: (entry: SafetensorsEntry & { bytes: Uint8Array }) => SafetensorsEntry | undefined,
): Promise<Folder> {
  const entries = [...(await tensorsOf(files)).values()].flatMap(({ name, dtype, shape, bytes }) => {
    return change({ name, dtype, shape, bytes }) ?? []
  })
  return memoryFolder("changed", new Map(files).set(FILE, await safetensors(entries)))
}

/** What codes in a file stand for, by the description in docs/quantization.md. */
function valuesOf(tensors: Awaited<ReturnType<typeof tensorsOf>>, name: string): Float32Array {
  const { dtype, shape, bytes } = tensors.get(name)!
  const columns = dtype === "U8" ? 2 * shape[1]! : shape[1]!
  const scales = new Float32Array(tensors.get(`${name}_scale`)!.bytes.slice().buffer)
  const zeros = tensors.get(`${name}_zero`)?.bytes
  return Float32Array.from({ length: shape[0]! * columns }, (_, i) => {
    const block = Math.floor(i / 32)
    if (!zeros) return scales[block]! * ((bytes[i]! << 24) >> 24)
    const code = i % 2 === 0 ? bytes[i / 2]! % 16 : Math.floor(bytes[(i - 1) / 2]! / 16)
    return scales[block]! * (code - zeros[block]!)
  })
}

/** The files with every weight that is stored as codes in F32 instead. */
async function dequantized(files: ReadonlyMap<string, Uint8Array>): Promise<Files> {
  const tensors = await tensorsOf(files)
  const entries = [...tensors.values()].flatMap(({ name, dtype, shape, bytes }): SafetensorsEntry[] => {
    if (/_scale$|_zero$/.test(name)) return []
    if (dtype !== "U8" && dtype !== "I8") return [{ name, dtype, shape, bytes }]
    const columns = dtype === "U8" ? 2 * shape[1]! : shape[1]!
    return [{ name, dtype: "F32", shape: [shape[0]!, columns], bytes: new Uint8Array(valuesOf(tensors, name).buffer) }]
  })
  return new Map(files).set(FILE, await safetensors(entries))
}

describe("quantize", () => {
  test.each([
    ["tiny-gemma1", readGolden("tiny-gemma1")],
    ["tiny-gemma2", readGolden("tiny-gemma2")],
    ["tiny-gemma3-bf16", readGolden("tiny-gemma3-bf16")],
    ["tiny-gemma3-mm", readGolden("tiny-gemma3-mm")],
    ["tiny-gemma3-rope8-sharded", readGolden("tiny-gemma3-rope8-sharded")],
    ["tiny-hgrnbit", readGolden("tiny-hgrnbit")],
  ])("writes what loading rounds to: %s answers the same to the bit", async (name, files) => {
    const folder = memoryFolder(name, files)
    for (const dtype of DTYPES) {
      const rounded = await outputs(await model(folder, { dtype }))
      const store = await quantized(folder, { dtype })
      const kept = await model(store)
      expect(await outputs(kept)).toEqual(rounded)
      expect([...internals(kept).model.packed.values()].some((weight) => weight.dtype === dtype)).toBe(true)
      expect(store.files.get("config.json")).toEqual(files.get("config.json"))
    }
  })

  test("writes codes as they are described, and everything else as it was", async () => {
    const files = readGolden("tiny-gemma3-bf16")
    for (const dtype of DTYPES) {
      const folder = memoryFolder("bf16", files)
      const { packed, device: gpu } = internals(await model(folder, { dtype })).model
      const store = memoryStore()
      const told: string[] = []
      const onWeight = (name: string, done: number, of: number) => told.push(`${done}/${of} ${name}`)
      const result = await quantize(folder, store, { device, dtype, onWeight })
      const [before, after] = [await tensorsOf(files), await tensorsOf(store.files)]
      expect(packed.size).toBeGreaterThan(5)
      expect([...result.weights].sort()).toEqual([...packed.keys()].sort())
      expect([told.length, result.calibrated]).toEqual([packed.size, []])
      for (const [name, { shape, parts }] of packed) {
        const memory = await Promise.all(parts.map(async ({ tensor }) => new Uint32Array(await gpu.read(tensor))))
        const blocks = memory.flatMap((each, i) => reference.blocks(each, [parts[i]!.rows, shape[1]], dtype))
        expect(valuesOf(after, name), name).toEqual(Float32Array.from(reference.valuesOf(blocks)))
      }
      const size = (tensors: typeof before) => [...tensors.values()].reduce((sum, { bytes }) => sum + bytes.length, 0)
      expect([result.bytesBefore, result.bytesAfter]).toEqual([size(before), size(after)])
      for (const [name, { bytes }] of before) if (!packed.has(name)) expect(after.get(name)!.bytes).toEqual(bytes)
    }
  })

  test("keeps codes that are there already, and goes to another type from what they stand for", async () => {
    const q4 = await quantized(await randomModel(), { dtype: "q4" })
    const again = await quantized(q4, { dtype: "q4" })
    expect(again.files.get(FILE)).toEqual(q4.files.get(FILE))
    const q8 = await quantized(q4, { dtype: "q8" })
    const plain = memoryFolder("plain", await dequantized(q4.files))
    expect(await outputs(await model(q8))).toEqual(await outputs(await model(plain, { dtype: "q8" })))
    expect(await outputs(await model(q4, { dtype: "bf16" }))).toEqual(
      await outputs(await model(plain, { dtype: "bf16" })),
    )
    await expect(quantize(q4, memoryStore(), { device, dtype: "f32" as "q4" })).rejects.toThrow(
      new TypeError("quantize: dtype is f32, expected q4 or q8"),
    )
  })

  test("with moments keeps more of what layers give on their inputs, in every layer and the head", async () => {
    const folder = await randomModel()
    const next = random(3)
    const text = () => Array.from({ length: 60 }, () => 3 + Math.floor(next() ** 3 * 200))
    const moments = await inputMoments(await model(folder), Array.from({ length: 8 }, text))
    const [plain, calibrated] = [memoryStore(), memoryStore()]
    await quantize(folder, plain, { device, dtype: "q4" })
    const result = await quantize(folder, calibrated, { device, dtype: "q4", moments })
    expect(result.calibrated).toEqual(result.weights)
    const [own, nearest] = [await tensorsOf(calibrated.files), await tensorsOf(plain.files)]
    const { tensors } = await open(folder)
    for (const name of result.weights) {
      const { source, info } = tensors.get(name)!
      const weight = decodeToFloat32("F32", new Uint8Array(await source.slice(info.start, info.end)))
      const moment = moments.get(name.replace(".weight", ""))!
      const lost = (values: Float32Array) => reference.outputError(weight, values, moment)
      expect(lost(valuesOf(own, name)), name).toBeLessThan(0.9 * lost(valuesOf(nearest, name)))
    }
    const other = new Map([["model.layers.0.nothing", new Float64Array(1)]])
    await expect(quantize(folder, memoryStore(), { device, dtype: "q4", moments: other })).rejects.toThrow(
      "quantize: moments are of no weight of random checkpoint",
    )
    await expect(quantize(folder, memoryStore(), { device, dtype: "q8", moments })).rejects.toThrow(
      "quantize: moments are given with q8, expected q4",
    )
  })

  test("writes nothing when it is stopped, and refuses a model whose rows are no blocks", async () => {
    const controller = new AbortController()
    const store = memoryStore()
    const onWeight = () => controller.abort()
    const { signal } = controller
    const stopped = quantize(await randomModel(), store, { device, dtype: "q4", onWeight, signal })
    await expect(stopped).rejects.toThrow(/abort/)
    expect(store.files.size).toBe(0)
  })
})

describe("a checkpoint of codes", () => {
  test("is refused by name where something about it is wrong", async () => {
    const [q4, q8] = [
      await quantized(await randomModel(), { dtype: "q4" }),
      await quantized(await randomModel(), { dtype: "q8" }),
    ]
    const name = "model.layers.0.mlp.up_proj.weight"
    const refused = async (files: MemoryStore, change: Parameters<typeof changed>[1], text: string) =>
      expect(open(await changed(files.files, change))).rejects.toThrow(new RangeError(`${FILE}: ${text}`))
    const without = (gone: string) => (entry: SafetensorsEntry) => (entry.name === gone ? undefined : entry)
    const withShape = (of: string, shape: number[]) => (entry: SafetensorsEntry) =>
      entry.name === of ? { ...entry, shape } : entry
    await refused(q4, without(`${name}_scale`), `${name}_scale is missing, expected F32 [96, 2]`)
    await refused(q4, without(`${name}_zero`), `${name}_zero is missing, expected U8 [96, 2]`)
    await refused(q8, without(`${name}_scale`), `${name}_scale is missing, expected F32 [96, 2]`)
    await refused(q4, withShape(name, [32, 96]), `${name} is [32, 96] codes in q4, expected [96, 32]`)
    await refused(q8, withShape(name, [64, 96]), `${name} is [64, 96] codes in q8, expected [96, 64]`)
    await refused(q4, withShape(`${name}_zero`, [2, 96]), `${name}_zero is U8 [2, 96], expected U8 [96, 2]`)
    await refused(
      q8,
      (entry) => (entry.name === `${name}_scale` ? { ...entry, dtype: "I32" } : entry),
      `${name}_scale is I32 [96, 2], expected F32 [96, 2]`,
    )
    const leftOver = { name: `${name}_zero`, dtype: "U8", shape: [1], bytes: new Uint8Array(1) } as const
    await refused(
      q8,
      (entry) =>
        entry.name === "model.norm.weight_zero" ? undefined : entry.name === `${name}_scale` ? leftOver : entry,
      `${name}_scale is missing, expected F32 [96, 2]`,
    )
    const wrong = await changed(q4.files, (entry) => {
      if (entry.name !== `${name}_zero`) return entry
      return { ...entry, bytes: entry.bytes.map((zero, i) => (i === 7 ? 16 : zero)) }
    })
    await expect(model(wrong)).rejects.toThrow(new RangeError(`${FILE}: ${name}_zero is 16 in row 3, expected 0 to 15`))
    await expect(model(q4, { dtype: "f32" })).rejects.toThrow(
      /weight: is stored in q4 alone, expected all of it to load with dtype f32$/,
    )
  })

  test("is for other uses what its codes stand for", async () => {
    const q4 = await quantized(await randomModel(), { dtype: "q4" })
    const plain = await dequantized(q4.files)
    for (const [name, { info, source }] of (await open(q4)).tensors) {
      const expected = (await tensorsOf(plain)).get(name)!
      expect(info.shape).toEqual(expected.shape)
      expect(new Uint8Array(await source.slice(info.start, info.end)), name).toEqual(expected.bytes)
      const [from, to] = [info.start + 516, info.start + 4 * Math.min(700, (info.end - info.start) / 4)]
      if (to <= from) continue
      expect(new Uint8Array(await source.slice(from, to))).toEqual(
        expected.bytes.slice(from - info.start, to - info.start),
      )
    }
  })
})

describe("a GGUF's blocks", () => {
  test.each([
    ["Q4_0", "q4"],
    ["Q8_0", "q8"],
  ] as const)("%s are on the GPU as %s, and give what they stand for", async (type, dtype) => {
    const files = readGolden("tiny-gemma3")
    const gguf = memoryFolder("gguf", new Map([["model.gguf", ggufOf(files, type)]]))
    const kept = await model(gguf)
    const { packed } = internals(kept).model
    expect(packed.size).toBeGreaterThan(5)
    for (const [name, weight] of packed) expect(weight.dtype, name).toBe(dtype)
    const plain = await model(gguf, { dtype: "f32" })
    expect(internals(plain).model.packed.size).toBe(0)
    const { data } = await plain.logits(IDS)
    const { tolerance } = golden("goldens/tiny-gemma3").tensor("prompt.4.logits")
    expectClose((await kept.logits(IDS)).data, data, { absolute: tolerance }, { what: `${type} logits` })
    const token = await kept.logits(IDS.slice(0, 1)) // meets the codes in eight bits
    const whole = await plain.logits(IDS.slice(0, 1))
    const difference = token.data.map((value, i) => value - whole.data[i]!)
    expect(length(difference)).toBeGreaterThan(0)
    expect(length(difference)).toBeLessThan(0.1 * length(whole.data))
    const stored = await quantized(gguf, { dtype })
    expect(await outputs(await model(stored))).toEqual(await outputs(kept))
  })
})

describe("adapters on codes", () => {
  test("get the gradients that they get on what the codes stand for", async () => {
    for (const dtype of DTYPES) {
      const store = await quantized(memoryFolder("tiny", readGolden("tiny-gemma3")), { dtype })
      const [coded, plain] = [await model(store), await model(memoryFolder("plain", await dequantized(store.files)))]
      const { modules } = await readAdapter(pathFolder(ADAPTER))
      const wrt = [...modules.keys()].flatMap((path) =>
        ["A", "B"].map((factor) => `base_model.model.${path}.lora_${factor}.weight`),
      )
      const results = []
      for (const lm of [coded, plain]) {
        await lm.loadAdapter(ADAPTER)
        results.push(await lm.lossAndGradients(IDS.slice(0, 24), { wrt }))
      }
      const [own, expected] = results
      expect(own!.gradients.size).toBeGreaterThan(4)
      expectClose([own!.loss], [expected!.loss], { relative: 1e-6 }, { what: "loss" })
      for (const [name, gradient] of expected!.gradients) {
        expect(gradient.some((value) => value !== 0)).toBe(true)
        expectClose(own!.gradients.get(name)!, gradient, { relative: 1e-5 }, { what: `${dtype} ${name}` })
      }
    }
  })

  test.each(Object.entries(METHODS))(
    "are trained on a model in four bits, and load to equal logits: %s",
    async (_, options) => {
      const folder = await randomCheckpoint({ ...CONFIG, vocab_size: 4096 }, { seed: 1, tokenizer: STORYTELLER })
      const lm = await model(folder, { dtype: "q4" })
      const base = await lm.logits(IDS)
      const store = memoryStore()
      const settings = { steps: 3, batch: 2, context: 24, rate: 1e-2, warmup: 1, heldOut: 0, rank: 4, seed: 3 }
      const tuning = tune(lm, STORIES, { ...settings, ...options, store })
      const losses: (number | undefined)[] = []
      for await (const { loss } of tuning) losses.push(loss)
      expect(losses.map(Number.isFinite)).toEqual([true, true, true])
      const { data } = await lm.logits(IDS)
      expect(data).not.toEqual(base.data)
      tuning.dispose()
      await lm.removeAdapter("tuned")
      expect(await lm.logits(IDS)).toEqual(base)
      await lm.loadAdapter(store, { name: "again" })
      expectClose((await lm.logits(IDS)).data, data, { absolute: 2e-5 }, { what: "logits" })
    },
  )

  test("are refused where all weights are to be trained", async () => {
    const store = await quantized(await randomCheckpoint({ ...CONFIG, vocab_size: 4096 }, { tokenizer: STORYTELLER }), {
      dtype: "q4",
    })
    const tuning = tune(await model(store), STORIES, { steps: 1, method: "full", store: memoryStore() })
    const steps = async () => {
      for await (const _ of tuning);
    }
    await expect(steps()).rejects.toThrow(/weight is q4, expected f32 to train all weights/)
  })
})
