import { describe, expect, test } from "vitest"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import { memoryFolder } from "../../src/model/source.ts"
import type { TransformerConfig } from "../../src/model/transformer_config.ts"
import { ggufMetadata, ggufTensors } from "../helpers/gguf_conversion.ts"
import { type Entry, quantize, type WriterTensor, writeGguf } from "../helpers/gguf_writer.ts"
import { type Files, readFolder, readGolden } from "../model/fixture_folders.ts"

const GEMMA2 = readGolden("tiny-gemma2")
const GEMMA3 = readGolden("tiny-gemma3")
const LLAMA = readFolder("test/fixtures/stories260K")

/** The fixture's file with entries of its metadata changed, added, or left out where they are undefined. */
function fileOf(
  files: Files,
  change: Readonly<Record<string, Entry | undefined>>,
  tensors?: WriterTensor[],
): Uint8Array {
  const kept = ggufMetadata(files).filter(([key]) => !(key in change))
  const added = Object.values(change).filter((entry) => entry !== undefined)
  return writeGguf([...kept, ...added], tensors ?? ggufTensors(files, "F32"))
}

const open = (file: Uint8Array, options = {}) =>
  openCheckpoint(memoryFolder("folder", new Map([["m.gguf", file]])), options)

async function configOf(files: Files, ...entries: Entry[]): Promise<TransformerConfig> {
  const { config } = await open(fileOf(files, Object.fromEntries(entries.map((entry) => [entry[0], entry]))))
  return config as TransformerConfig
}

async function without(files: Files, ...keys: string[]): Promise<TransformerConfig> {
  const { config } = await open(fileOf(files, Object.fromEntries(keys.map((key) => [key, undefined]))))
  return config as TransformerConfig
}

/** Layers that the tiny fixture does not have: a config is refused for its tensors only afterwards. */
const errorOf = (file: Uint8Array, options = {}): Promise<Error> =>
  open(file, options).then(
    () => expect.unreachable("expected an error"),
    (error: Error) => error,
  )

const windows = ({ layers }: TransformerConfig) => layers.map(({ window }) => window)

describe("the config of a GGUF", () => {
  test.each([
    ["tiny-gemma1", readGolden("tiny-gemma1")],
    ["tiny-gemma3", GEMMA3],
    ["tiny-gemma3-bf16", readGolden("tiny-gemma3-bf16")],
    ["stories260K", LLAMA],
  ])("is that of the checkpoint it was made of: %s", async (_, files) => {
    const { config: expected } = await openCheckpoint(memoryFolder("folder", files))
    const config = await configOf(files)
    // The file has no end of text of its own for pad, and its numbers are float32.
    expect({ ...config, eps: 0, pad: 0 }).toEqual({ ...expected, eps: 0, pad: 0 })
    expect(config.eps).toBe(Math.fround(expected.eps))
  })

  test("has Gemma 2's window, soft-caps and scale where the file leaves them out", async () => {
    const keys = ["attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping", "rope.freq_base"]
    const config = await without(GEMMA2, ...keys.map((key) => `gemma2.${key}`))
    expect(windows(config)).toEqual([4096, null, 4096, null])
    expect([config.attentionSoftcap, config.finalSoftcap]).toEqual([50, 30])
    expect(config.attentionScale).toBe(32 ** -0.5)
    expect(config.layers[0]!.rope).toEqual({ theta: 10_000, factor: 1 })
  })

  test.each([
    ["gemma2", GEMMA2, 46],
    ["gemma3", GEMMA3, 62],
  ])("has the scale of a 27B model with so many layers: %s", async (architecture, files, layers) => {
    const [first] = ggufTensors(files, "F32").filter(({ name }) => name === "blk.0.ffn_up.weight")
    const own = ggufTensors(files, "F32").filter(({ name }) => !name.startsWith("blk."))
    const blocks = Array.from({ length: layers }, (_, i) =>
      ggufTensors(files, "F32").flatMap((tensor) =>
        tensor.name.startsWith("blk.0.") ? [{ ...tensor, name: tensor.name.replace("blk.0.", `blk.${i}.`) }] : [],
      ),
    )
    expect(first).toBeDefined()
    const count: Entry = [`${architecture}.block_count`, "u32", layers]
    const { config } = await open(fileOf(files, { [count[0]]: count }, [...own, ...blocks.flat()]))
    expect((config as TransformerConfig).attentionScale).toBe((64 / 4) ** -0.5) // width by heads, not the heads' 32
  })

  test("has Gemma 3's local base, pattern and scaling of global layers alone", async () => {
    const config = await configOf(
      GEMMA3,
      ["gemma3.rope.scaling.type", "string", "linear"],
      ["gemma3.rope.scaling.factor", "f32", 8],
    )
    expect(windows(config)).toEqual([16, 16, 16, 16, 16, null, 16, 16])
    expect(config.layers[5]!.rope).toEqual({ theta: 1e6, factor: 8 })
    expect(config.layers[0]!.rope).toEqual({ theta: 10_000, factor: 1 })
    const written = await configOf(GEMMA3, ["gemma3.rope.freq_base_swa", "f32", 5000])
    expect(written.layers[0]!.rope.theta).toBe(5000)
  })

  test("takes a pattern from the file, as a period or layer by layer", async () => {
    const key = "gemma3.attention.sliding_window_pattern"
    expect(windows(await configOf(GEMMA3, [key, "u32", 2]))).toEqual([16, null, 16, null, 16, null, 16, null])
    const layers = [true, true, false, true, true, true, true, false]
    const expected = [16, 16, null, 16, 16, 16, 16, null]
    expect(windows(await configOf(GEMMA3, [key, "bool", layers]))).toEqual(expected)
    expect(windows(await without(GEMMA3, "gemma3.attention.sliding_window"))).toEqual(new Array(8).fill(null))
  })

  test("has a head of its own where the file has one", async () => {
    const tensors = ggufTensors(LLAMA, "F32")
    const embedding = tensors.find(({ name }) => name === "token_embd.weight")!
    const { config } = await open(fileOf(LLAMA, {}, [...tensors, { ...embedding, name: "output.weight" }]))
    expect(config.tiedHead).toBe(false)
  })

  test("recommends the sampling that the file recommends", async () => {
    const sampling: Entry[] = [
      ["general.sampling.temp", "f32", 0.5],
      ["general.sampling.top_k", "i32", 64],
      ["general.sampling.top_p", "f32", 0.75],
    ]
    const { generation } = await open(fileOf(GEMMA3, Object.fromEntries(sampling.map((entry) => [entry[0], entry]))))
    expect(generation).toEqual({ eos: [1], temperature: 0.5, topK: 64, topP: 0.75, doSample: true })
  })

  test.each<[string, Files, Entry, string]>([
    [
      "another architecture",
      GEMMA3,
      ["general.architecture", "string", "qwen3"],
      'general.architecture is "qwen3", expected gemma or gemma2 or gemma3 or llama',
    ],
    ["an adapter", GEMMA3, ["general.type", "string", "adapter"], 'general.type is "adapter", expected model'],
    [
      "one of several parts",
      GEMMA3,
      ["split.count", "u16", 3],
      "split.count is 3, expected 1 (`llama-gguf-split --merge`",
    ],
    ["experts", LLAMA, ["llama.expert_count", "u32", 8], "llama.expert_count is 8, expected an integer of 0 to 0"],
    [
      "part of a head rotated",
      LLAMA,
      ["llama.rope.dimension_count", "u32", 4],
      "llama.rope.dimension_count is 4, expected an integer of 8 to 8",
    ],
    [
      "a scaling that is not linear",
      LLAMA,
      ["llama.rope.scaling.type", "string", "yarn"],
      'llama.rope.scaling.type is "yarn", expected none or linear',
    ],
    [
      "attention to what comes later",
      LLAMA,
      ["llama.attention.causal", "bool", false],
      "llama.attention.causal is false, expected true",
    ],
    [
      "a key nobody knows",
      LLAMA,
      ["llama.logit_scale", "f32", 2],
      "llama.logit_scale is 2, expected no such key (it is not supported",
    ],
    [
      "a soft-cap of attention in Gemma 3",
      GEMMA3,
      ["gemma3.attn_logit_softcapping", "f32", 50],
      "gemma3.attn_logit_softcapping is 50, expected no such key",
    ],
    [
      "heads that differ by layer",
      LLAMA,
      ["llama.attention.head_count", "u32", [8, 8, 8, 8, 8]],
      "llama.attention.head_count is [8,8,8,8,8], expected an integer",
    ],
    [
      "a width of another type",
      LLAMA,
      ["llama.embedding_length", "string", "64"],
      'llama.embedding_length is "64", expected an integer',
    ],
    [
      "an end token beyond the vocabulary",
      LLAMA,
      ["tokenizer.ggml.eos_token_id", "u32", 512],
      "tokenizer.ggml.eos_token_id is 512, expected an integer of 0 to 511",
    ],
    ["another width", LLAMA, ["llama.feed_forward_length", "u32", 176], "is [172, 64], expected [F, C] = [176, 64]"],
    [
      "a width that no kernel takes",
      LLAMA,
      ["llama.feed_forward_length", "u32", 173],
      "intermediate_size is 173, expected a multiple of 4",
    ],
  ])("is refused for %s", async (_, files, entry, message) => {
    const error = await errorOf(fileOf(files, { [entry[0]]: entry }))
    expect(error.message).toMatch(/^m\.gguf: /)
    expect(error.message).toContain(message)
  })

  test("is refused for what is missing", async () => {
    const missing = async (key: string) => (await errorOf(fileOf(GEMMA3, { [key]: undefined }))).message
    expect(await missing("general.architecture")).toMatch(/^m\.gguf: general\.architecture is missing, expected gemma/)
    expect(await missing("gemma3.rope.freq_base")).toMatch(/^m\.gguf: gemma3\.rope\.freq_base is missing, expected/)
    const tensors = ggufTensors(GEMMA3, "F32")
    const dropped = (name: string) =>
      errorOf(
        fileOf(
          GEMMA3,
          {},
          tensors.filter((tensor) => tensor.name !== name),
        ),
      )
    expect((await dropped("token_embd.weight")).message).toBe("m.gguf: token_embd.weight is missing, expected [V, C]")
    expect((await dropped("blk.3.attn_k_norm.weight")).message).toBe(
      "m.gguf: model.layers.3.self_attn.k_norm.weight is missing, expected [D] = [32]",
    )
  })

  test("is refused for tensors that no such model has, Llama 3.1's frequencies by their name", async () => {
    const extra = (name: string): WriterTensor => ({ name, type: "F32", shape: [4], bytes: new Uint8Array(16) })
    const refused = (name: string) => errorOf(fileOf(LLAMA, {}, [...ggufTensors(LLAMA, "F32"), extra(name)]))
    for (const name of ["blk.0.attn_q.bias", "blk.0.toString.weight", "rope.weight", "__proto__"]) {
      expect((await refused(name)).message).toBe(`m.gguf: ${name} is left over, expected no such tensor for llama`)
    }
    expect((await refused("rope_freqs.weight")).message).toMatch(/rotary frequencies of Llama 3\.1 and later/)
    expect((await refused("blk.5.attn_norm.weight")).message).toMatch(/model\.layers\.5\.\S+ is left over/)
  })

  test("reads a vector in blocks as float32", async () => {
    const tensors = ggufTensors(LLAMA, "F32").map((tensor): WriterTensor => {
      if (tensor.name !== "output_norm.weight") return tensor
      return { ...tensor, type: "Q8_0", bytes: quantize("Q8_0", new Float32Array(64).fill(0.5)) }
    })
    const { blocks, source, info } = (await open(fileOf(LLAMA, {}, tensors))).weights.get("norm")!
    expect([blocks, info.dtype]).toEqual([undefined, "F32"])
    const values = new Float32Array(await source.slice(info.start, info.end))
    for (const value of values) expect(value).toBeCloseTo(0.5, 3)
  })

  test("leaves out a key that is to be ignored", async () => {
    const file = fileOf(LLAMA, { "llama.logit_scale": ["llama.logit_scale", "f32", 2] })
    expect((await open(file, { ignoreKeys: ["llama.logit_scale"] })).config.modelType).toBe("llama")
  })
})
