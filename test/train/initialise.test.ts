import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { openCheckpoint } from "../../src/model/checkpoint.ts"
import { parseConfig } from "../../src/model/config.ts"
import { readFloat32 } from "../../src/model/safetensors.ts"
import { type Folder, memoryFolder, readJson, readText } from "../../src/model/source.ts"
import { pathFolder } from "../../src/platform/node_files.ts"
import { randomCheckpoint } from "../../src/train/initialise.ts"
import { files } from "../tokenizer/fixtures.ts"

const storyteller = new URL("../../weights/storyteller/", import.meta.url).pathname
const config = JSON.parse(readFileSync(`${storyteller}config.json`, "utf8"))
const small = { ...config, hidden_size: 32, intermediate_size: 64, head_dim: 16, query_pre_attn_scalar: 16 }

const bytesOf = async (folder: Folder, name: string) => {
  const source = await folder.open(name)
  return new Uint8Array(await source!.slice(0, source!.byteLength))
}

/** Every tensor by its name in the file. */
async function tensorsOf(folder: Folder): Promise<Map<string, Float32Array>> {
  const { tensors } = await openCheckpoint(folder)
  const entries = [...tensors].map(async ([name, { source, info }]) => [name, await readFloat32(source, info)] as const)
  return new Map(await Promise.all(entries))
}

test("randomCheckpoint draws matrices from N(0, 0.02^2) and leaves norms the identity", async () => {
  const folder = await randomCheckpoint(config, { seed: 3 })
  const checkpoint = await openCheckpoint(folder)
  expect([...checkpoint.weights.values()].every(({ info }) => info.dtype === "F32")).toBe(true)
  expect(checkpoint.metadata.get("format")).toBe("pt")
  const reference = await openCheckpoint(pathFolder(storyteller))
  expect([...checkpoint.tensors.keys()].sort()).toEqual([...reference.tensors.keys()].sort())
  await reference.close()
  let matrices = 0
  for (const [name, values] of await tensorsOf(folder)) {
    if (name.includes("norm")) {
      expect(values.every((value) => value === 0)).toBe(true)
      continue
    }
    matrices++
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length)
    expect(Math.abs(mean), name).toBeLessThan(0.02 * (5 / Math.sqrt(values.length)))
    expect(Math.abs(deviation / 0.02 - 1), name).toBeLessThan(5 / Math.sqrt(2 * values.length))
  }
  expect(matrices).toBe(1 + 6 * 7)
})

test("randomCheckpoint takes initializer_range, and 1 where a family multiplies by the norm as stored", async () => {
  const llama = {
    model_type: "llama",
    vocab_size: 100,
    hidden_size: 64,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    initializer_range: 0.5,
  }
  const tensors = await tensorsOf(await randomCheckpoint(llama))
  expect(tensors.get("model.norm.weight")!.every((value) => value === 1)).toBe(true)
  const head = tensors.get("lm_head.weight")!
  const deviation = Math.sqrt(head.reduce((sum, value) => sum + value * value, 0) / head.length)
  expect(Math.abs(deviation / 0.5 - 1)).toBeLessThan(5 / Math.sqrt(2 * head.length))
  await expect(randomCheckpoint({ ...llama, initializer_range: 0 })).rejects.toThrow(
    "config.json: initializer_range is 0, expected a number above 0",
  )
})

test("randomCheckpoint names the tensors of an image model's text part as its files do", async () => {
  const { model_type: _, architectures: __, ...text } = small
  const inner = { ...text, model_type: "gemma3_text", initializer_range: 0.1, torch_dtype: "bfloat16" }
  const folder = await randomCheckpoint({ model_type: "gemma3", text_config: inner, dtype: "bfloat16" })
  const checkpoint = await openCheckpoint(folder)
  expect(checkpoint.prefix).toBe("language_model.model.")
  const written = (await readJson(folder, "config.json")) as { text_config: object }
  expect(written).toMatchObject({ dtype: "float32", text_config: { ...inner, torch_dtype: "float32" } })
  const untied = { model_type: "gemma3", text_config: { ...inner, tie_word_embeddings: false } }
  expect((await openCheckpoint(await randomCheckpoint(untied))).tensors.has("language_model.lm_head.weight")).toBe(true)
})

test("randomCheckpoint gives the same bytes for the same seed and others for another", async () => {
  const weights = async (seed?: number) => bytesOf(await randomCheckpoint(small, { seed }), "model.safetensors")
  const first = await weights(1)
  expect(Buffer.compare(first, await weights(1))).toBe(0)
  expect(Buffer.compare(first, await weights(2))).not.toBe(0)
  expect(Buffer.compare(await weights(), await weights(0))).toBe(0)
  await expect(weights(-1)).rejects.toThrow("randomCheckpoint: seed is -1")
})

test("randomCheckpoint keeps the config but for the weights' type, and passes the tokenizer's files on", async () => {
  const before = structuredClone(config)
  const from = pathFolder(storyteller)
  const folder = await randomCheckpoint(config, { tokenizer: from })
  expect(config).toEqual(before)
  expect(await readJson(folder, "config.json")).toEqual({ ...config, torch_dtype: "float32" })
  for (const name of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]) {
    expect(await readText(folder, name)).toBe(await readText(from, name))
  }
  expect(await folder.open("chat_template.jinja")).toBeUndefined()
  expect(await folder.open("README.md")).toBeUndefined()
  await from.close?.()
})

test("randomCheckpoint refuses a config that cannot be, and a tokenizer that does not fit", async () => {
  await expect(randomCheckpoint({ ...small, head_dim: 17 })).rejects.toThrow("config.json: head_dim is 17, expected")
  const tokenizer = pathFolder(storyteller)
  await expect(randomCheckpoint({ ...small, vocab_size: 4000 }, { tokenizer })).rejects.toThrow(
    /config.json: vocab_size is 4000, expected at least 4096 for the tokenizer of .*storyteller/,
  )
  await tokenizer.close?.()
  await expect(randomCheckpoint(small, { tokenizer: memoryFolder("empty", new Map()) })).rejects.toThrow(
    "empty: tokenizer.json is missing, expected a folder with a tokenizer",
  )
})

test("randomCheckpoint accepts Gemma 3's tokenizer, whose image token no text model embeds", async () => {
  const { tokenizerJson, tokenizerConfig } = files.gemma3()
  const entries = { "tokenizer.json": tokenizerJson, "tokenizer_config.json": tokenizerConfig }
  const encoded = Object.entries(entries).map(([name, json]) => [name, Buffer.from(JSON.stringify(json))] as const)
  const wide = { ...small, vocab_size: 262144, hidden_size: 4, num_hidden_layers: 1, layer_types: ["full_attention"] }
  const folder = await randomCheckpoint(wide, { tokenizer: memoryFolder("gemma3", new Map(encoded)) })
  expect(parseConfig(await readJson(folder, "config.json"), "config.json").vocabSize).toBe(262144)
})
