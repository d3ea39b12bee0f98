import { describe, expect, test } from "vitest"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import { parseConfig } from "../../src/model/config.ts"
import { parameterCounts } from "../../src/model/cost.ts"
import { readFloat32, readHeader, type SafetensorsEntry } from "../../src/model/safetensors.ts"
import { memoryFolder, memorySource } from "../../src/model/source.ts"
import { weightTable } from "../../src/model/weights.ts"
import { pathFolder } from "../../src/platform/node_files.ts"
import {
  type Files,
  fixtureJson,
  json,
  readFolder,
  readGolden,
  repositoryPath,
  safetensors,
  withConfig,
} from "./fixture_folders.ts"

const open = (files: Files) => openCheckpoint(memoryFolder("folder", files))
const INDEX = "model.safetensors.index.json"

/** The single-file checkpoint with its tensors renamed, dropped (undefined), reshaped or added. */
async function edited(files: Files, edit: (entry: SafetensorsEntry) => SafetensorsEntry[]): Promise<Files> {
  const bytes = files.get("model.safetensors")!
  const { tensors } = await readHeader(memorySource(bytes), "model.safetensors")
  const entries = [...tensors.values()].flatMap((t) => edit({ ...t, bytes: bytes.subarray(t.start, t.end) }))
  return new Map(files).set("model.safetensors", await safetensors(entries))
}

describe("openCheckpoint", () => {
  test.each([
    ["tiny-gemma1", "model.", 29],
    ["tiny-gemma2", "model.", 46],
    ["tiny-gemma3", "model.", 106],
    ["tiny-gemma3-bf16", "model.", 106],
    ["tiny-gemma3-f16", "model.", 106],
    ["tiny-gemma3-mm", "language_model.model.", 41],
    ["tiny-gemma3-rope8-sharded", "model.", 106],
  ])("opens %s", async (name, prefix, count) => {
    const checkpoint = await open(readGolden(name))
    expect(checkpoint.prefix).toBe(prefix)
    expect([...checkpoint.weights.keys()]).toEqual(weightTable(checkpoint.config).map(({ field }) => field))
    expect(checkpoint.metadata.get("format")).toBe("pt")
    expect(checkpoint.generation).toBeUndefined()
    expect(checkpoint.weights.size).toBeLessThanOrEqual(checkpoint.tensors.size)
    let parameters = 0
    for (const { spec, info, source, file } of checkpoint.weights.values()) {
      expect(info.name).toBe(prefix + spec.name)
      expect(info.shape).toEqual(spec.shape)
      expect(info.end).toBeLessThanOrEqual(source.byteLength)
      expect(checkpoint.files.map(({ name }) => name)).toContain(file)
      parameters += spec.shape.reduce((product, extent) => product * extent, 1)
    }
    expect(parameters).toBe(parameterCounts(checkpoint.config).total)
    expect(count).toBe(checkpoint.weights.size)
  })

  test.each([
    ["weights/storyteller", "BF16", [1, 6]],
    ["test/fixtures/stories260K", "F32", [1, 2]],
  ])("opens %s from disk", async (path, dtype, eos) => {
    const checkpoint = await openCheckpoint(pathFolder(repositoryPath(path)))
    expect(checkpoint.weights.get("embedding")!.info.dtype).toBe(dtype)
    expect(checkpoint.generation!.eos).toEqual(eos)
    const { source, info } = checkpoint.weights.get("norm")!
    const norm = await readFloat32(source, info)
    expect(norm.length).toBe(checkpoint.config.hiddenSize)
    expect(norm.every(Number.isFinite)).toBe(true)
    await checkpoint.close()
    await expect(source.slice(0, 1)).rejects.toThrow()
  })

  test("reads headers only", async () => {
    const bytes = readGolden("tiny-gemma3")
    const ranges: number[] = []
    const watched = (bytes: Uint8Array) => {
      const source = memorySource(bytes)
      return {
        ...source,
        slice: (start: number, end: number) => source.slice(start, end).finally(() => ranges.push(end)),
      }
    }
    const folder = { name: "f", open: async (name: string) => bytes.get(name) && watched(bytes.get(name)!) }
    const checkpoint = await openCheckpoint(folder)
    const dataStart = Math.min(...[...checkpoint.tensors.values()].map(({ info }) => info.start))
    expect(Math.max(...ranges)).toBe(dataStart)
  })

  test.each([
    ["model.language_model.", "model.vision_tower.", "model.multi_modal_projector."],
    ["model.", "vision_tower.", "multi_modal_projector."],
    ["", "model.vision_tower.", "model.multi_modal_projector."],
  ])("finds the text model under '%s'", async (text, vision, projector) => {
    const files = await edited(readGolden("tiny-gemma3-mm"), (entry) => {
      const name = entry.name
        .replace("language_model.model.", text)
        .replace("vision_tower.", vision)
        .replace("multi_modal_projector.", projector)
      return [{ ...entry, name }]
    })
    expect((await open(files)).prefix).toBe(text)
  })

  test("ignores the angle tables of old saves", async () => {
    const inv_freq = { name: "model.layers.0.self_attn.rotary_emb.inv_freq", dtype: "F32" as const, shape: [1] }
    const extra = { ...inv_freq, bytes: new Uint8Array(4) }
    const files = await edited(readGolden("tiny-gemma1"), (entry) =>
      entry.name === "model.norm.weight" ? [entry, extra] : [entry],
    )
    expect((await open(files)).weights.size).toBe(29)
  })

  const withHead = (change: (bytes: Uint8Array) => SafetensorsEntry["bytes"], dtype?: "F16") =>
    edited(readGolden("tiny-gemma1"), (entry) => {
      if (entry.name !== "model.embed_tokens.weight") return [entry]
      const shape = dtype ? [entry.shape[0]!, entry.shape[1]! * 2] : entry.shape
      const head = { ...entry, name: "lm_head.weight", dtype: dtype ?? entry.dtype, shape }
      return [entry, { ...head, bytes: change(entry.bytes as Uint8Array) }]
    })

  test("takes a stored head: needed when untied, a copy of the embedding when tied", async () => {
    const tied = await withHead((bytes) => bytes)
    expect((await open(tied)).weights.has("head")).toBe(false)
    const other = await withHead((bytes) => bytes.map((byte) => byte ^ 1))
    await expect(open(other)).rejects.toThrow(
      "lm_head.weight is different, expected the same as model.embed_tokens.weight",
    )
    const untied = withConfig(other, { tie_word_embeddings: false })
    expect((await open(untied)).weights.get("head")!.info.name).toBe("lm_head.weight")
    const missing = withConfig(readGolden("tiny-gemma1"), { tie_word_embeddings: false })
    await expect(open(missing)).rejects.toThrow(
      "model.safetensors: lm_head.weight is missing, expected [V, C] = [320, 64]",
    )
    await expect(open(await withHead((bytes) => bytes, "F16"))).rejects.toThrow(
      "lm_head.weight is [320, 128], expected",
    )
  })

  test("says what a shape is and should be", async () => {
    const files = withConfig(readGolden("tiny-gemma3"), { intermediate_size: 132 })
    const error = await open(files).catch((error) => error)
    expect(error).toBeInstanceOf(RangeError)
    expect(error.message).toBe(
      "model.safetensors: model.layers.0.mlp.gate_proj.weight is [128, 64], expected [F, C] = [132, 64] (is config.json from another size?)",
    )
  })

  test("refuses a tensor that is missing, left over or of another dtype", async () => {
    const files = readGolden("tiny-gemma3")
    const lost = await edited(files, (entry) => (entry.name.endsWith("3.mlp.up_proj.weight") ? [] : [entry]))
    await expect(open(lost)).rejects.toThrow(
      "model.safetensors: model.layers.3.mlp.up_proj.weight is missing, expected [F, C] = [128, 64]",
    )
    const fewer = withConfig(files, { num_hidden_layers: 7, layer_types: null })
    await expect(open(fewer)).rejects.toThrow("is left over, expected no such tensor for gemma3_text")
    const bias: SafetensorsEntry = {
      name: "model.layers.0.mlp.up_proj.bias",
      dtype: "F32",
      shape: [0],
      bytes: new Uint8Array(0),
    }
    const biased = await edited(files, (entry) => (entry.name === "model.norm.weight" ? [entry, bias] : [entry]))
    await expect(open(biased)).rejects.toThrow("model.layers.0.mlp.up_proj.bias is left over")
    const integer = await edited(files, (e) => [e.name === "model.norm.weight" ? { ...e, dtype: "I32" } : e])
    const error = await open(integer).catch((error) => error)
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe("model.safetensors: model.norm.weight is I32, expected F32, F16 or BF16")
    const nameless = await edited(files, (entry) => [{ ...entry, name: `transformer.${entry.name}` }])
    await expect(open(nameless)).rejects.toThrow(
      "model.safetensors: embed_tokens.weight is missing, expected it under one of",
    )
    const twice = await edited(files, (entry) => [entry, { ...entry, name: `model.language_${entry.name}` }])
    await expect(open(twice)).rejects.toThrow("text model is ambiguous")
  })

  test("names the file that is missing", async () => {
    await expect(open(new Map())).rejects.toThrow("folder: config.json is missing, expected a checkpoint folder")
    const files = new Map([["config.json", readGolden("tiny-gemma1").get("config.json")!]])
    await expect(open(files)).rejects.toThrow(
      "folder: model.safetensors is missing, expected it or model.safetensors.index.json",
    )
  })

  test("closes the folder when it fails", async () => {
    let closed = 0
    const folder = { ...memoryFolder("f", new Map()), close: async () => void closed++ }
    await expect(openCheckpoint(folder)).rejects.toThrow(RangeError)
    expect(closed).toBe(1)
  })
})

describe("openCheckpoint of shards", () => {
  const files = readGolden("tiny-gemma3-rope8-sharded")
  const map = fixtureJson(`goldens/tiny-gemma3-rope8-sharded/${INDEX}`).weight_map as Record<string, string>
  const norm = "model.norm.weight"
  const withMap = (weight_map: unknown) => new Map(files).set(INDEX, json({ weight_map }))

  test("reads the same tensors wherever they are", async () => {
    const { weights, files: opened } = await open(files)
    expect(opened.map(({ name }) => name)).toEqual([1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`))
    for (const { info, file } of weights.values()) expect(file).toBe(map[info.name])
  })

  test.each<[string, Files, typeof Error, string]>([
    [
      "a missing shard",
      removed("model-00002-of-00003.safetensors"),
      RangeError,
      "shard model-00002-of-00003.safetensors is missing, expected it in folder",
    ],
    [
      "a name that leaves the folder",
      withMap({ ...map, [norm]: "../x.safetensors" }),
      RangeError,
      'model.norm.weight is in "../x.safetensors", expected a name inside the folder',
    ],
    [
      "an absolute name",
      withMap({ ...map, [norm]: "/x.safetensors" }),
      RangeError,
      'model.norm.weight is in "/x.safetensors", expected a name inside the folder',
    ],
    [
      "a shard that is no name",
      withMap({ ...map, [norm]: 3 }),
      TypeError,
      "model.norm.weight is in 3, expected a file name",
    ],
    [
      "an index without weight_map",
      new Map(files).set(INDEX, json({})),
      TypeError,
      "weight_map is missing, expected an object",
    ],
    ["an empty weight_map", withMap({}), RangeError, "weight_map is {}, expected at least one tensor"],
    [
      "an index that is no object",
      new Map(files).set(INDEX, json(3)),
      TypeError,
      "the top level is 3, expected an object",
    ],
    [
      "a tensor that no shard has",
      withMap({ ...map, phantom: map[norm] }),
      RangeError,
      "phantom is in no shard, expected in model-00003",
    ],
    [
      "a tensor in another shard",
      withMap({ ...map, [norm]: "model-00001-of-00003.safetensors" }),
      RangeError,
      "model.norm.weight is in model-00003-of-00003.safetensors, expected in model-00001",
    ],
  ])("refuses %s", async (_, changed, type, message) => {
    const error = await open(changed).catch((error) => error)
    expect(error).toBeInstanceOf(type)
    expect(error.message).toContain(`${INDEX}: ${message}`)
  })

  test("refuses a tensor that the index does not know, or that two shards hold", async () => {
    const { [norm]: _, ...rest } = map
    await expect(open(withMap(rest))).rejects.toThrow(
      "model-00003-of-00003.safetensors: model.norm.weight is not in the weight_map",
    )
    const copy = new Map(files).set("copy.safetensors", files.get("model-00003-of-00003.safetensors")!)
    const both = copy.set(INDEX, json({ weight_map: { ...map, [norm]: "copy.safetensors" } }))
    await expect(open(both)).rejects.toThrow("too, expected in one shard")
  })

  function removed(name: string): Files {
    const rest = new Map(files)
    rest.delete(name)
    return rest
  }
})

describe("weightTable", () => {
  test("names Gemma 1's and Gemma 3's norms by what they do", () => {
    const table = (name: string) =>
      new Map(
        weightTable(parseConfig(fixtureJson(`goldens/${name}/config.json`), name)).map((spec) => [spec.field, spec]),
      )
    expect(table("tiny-gemma1").get("layers.1.preMlp")!.name).toBe("layers.1.post_attention_layernorm.weight")
    expect(table("tiny-gemma1").has("layers.1.postAttention")).toBe(false)
    expect(table("tiny-gemma3").get("layers.1.postAttention")!.name).toBe("layers.1.post_attention_layernorm.weight")
    expect(table("tiny-gemma3").get("layers.1.preMlp")!.name).toBe("layers.1.pre_feedforward_layernorm.weight")
    expect(table("tiny-gemma3").get("layers.3.attention.q")).toEqual({
      field: "layers.3.attention.q",
      name: "layers.3.self_attn.q_proj.weight",
      shape: [128, 64],
      letters: "[H*D, C]",
    })
  })

  test("matches the file of stories260K", async () => {
    const { config, weights } = await open(readFolder("test/fixtures/stories260K"))
    expect(config.modelType).toBe("llama")
    expect(weights.size).toBe(2 + 9 * 5)
  })
})
