import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { type Folder, type LanguageModel, load, memoryFolder, randomCheckpoint } from "../../src/index.ts"
import { pathFolder } from "../../src/platform/node_files.ts"
import type { Row } from "../../src/train/packing.ts"
import { IGNORED } from "../reference/distill.ts"
import { testDeviceKind } from "./device.ts"

const STORYTELLER = pathFolder(fileURLToPath(new URL("../../weights/storyteller", import.meta.url)))

const STUDENT = {
  model_type: "gemma3_text",
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 16,
  vocab_size: 4096,
  sliding_window: 8,
  layer_types: ["sliding_attention", "full_attention"],
  max_position_embeddings: 256,
  rms_norm_eps: 1e-6,
  query_pre_attn_scalar: 16,
  rope_theta: 1e6,
  rope_local_base_freq: 1e4,
  hidden_activation: "gelu_pytorch_tanh",
  bos_token_id: 2,
  eos_token_id: 1,
  pad_token_id: 0,
  initializer_range: 0.2,
}

/** Another width, depth and theta than the student's. */
const TEACHER = {
  ...STUDENT,
  hidden_size: 48,
  num_hidden_layers: 3,
  layer_types: ["sliding_attention", "sliding_attention", "full_attention"],
  rope_theta: 1e5,
}

export const STORIES = Array.from({ length: 24 }, (_, i) => ({
  text: `Once there was a ${["cat", "dog", "bird", "fox"][i % 4]} who liked to ${["run", "sing", "sleep"][i % 3]}. The end.`,
}))

export function studentFolder(overrides: object = {}, seed = 1): Promise<Folder> {
  return randomCheckpoint({ ...STUDENT, ...overrides }, { seed, tokenizer: STORYTELLER })
}

export function teacherFolder(overrides: object = {}): Promise<Folder> {
  return randomCheckpoint({ ...TEACHER, ...overrides }, { seed: 2, tokenizer: STORYTELLER })
}

/** The same folder with another token in the place of one. */
export async function withOtherToken(folder: Folder): Promise<Folder> {
  const files = await filesOf(folder)
  const tokenizer = JSON.parse(new TextDecoder().decode(files.get("tokenizer.json")))
  tokenizer.added_tokens.push({ ...tokenizer.added_tokens.at(-1), id: 4095, content: "<other>" })
  return memoryFolder("other tokens", files.set("tokenizer.json", new TextEncoder().encode(JSON.stringify(tokenizer))))
}

/** Puts a folder on disk. */
export async function writeFolder(folder: Folder, path: string): Promise<void> {
  mkdirSync(path)
  for (const [name, bytes] of await filesOf(folder)) writeFileSync(join(path, name), bytes)
}

async function filesOf(folder: Folder): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>()
  for (const name of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
    const source = (await folder.open(name))!
    files.set(name, new Uint8Array(await source.slice(0, source.byteLength)))
  }
  return files
}

/** A model alone on its device, or beside another. */
export function openModel(folder: Folder, beside?: LanguageModel): Promise<LanguageModel> {
  return load(folder, { device: testDeviceKind(), context: 64, ...(beside ? { beside } : {}) })
}

/** What the positions of rows are scored on, and a model's logits there, one row behind the other. */
export async function logitsOf(lm: LanguageModel, rows: readonly Row[]) {
  const segments = rows.flat()
  const targets = segments.flatMap(({ labels }) => [...labels.slice(1), -100].map((l) => (l === -100 ? IGNORED : l)))
  const parts: Float32Array[] = []
  for (const { ids } of segments) parts.push((await lm.logits(ids)).data)
  const logits = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    logits.set(part, at)
    at += part.length
  }
  return { targets, logits }
}

/** Over what is scored. */
export function mean(losses: Float64Array, targets: readonly number[]): number {
  return losses.reduce((sum, loss) => sum + loss, 0) / targets.filter((target) => target !== IGNORED).length
}
