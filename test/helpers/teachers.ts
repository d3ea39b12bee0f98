import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type Folder, type LanguageModel, load, memoryFolder } from "../../src/index.ts"
import type { Row } from "../../src/train/packing.ts"
import { IGNORED } from "../reference/distill.ts"
import { testDeviceKind } from "./device.ts"
import { randomWeights, TINY_GEMMA } from "./training.ts"

/** Another width, depth and theta than the student's. */
const TEACHER = {
  ...TINY_GEMMA,
  hidden_size: 48,
  num_hidden_layers: 3,
  layer_types: ["sliding_attention", "sliding_attention", "full_attention"],
  rope_theta: 1e5,
}

export function studentFolder(overrides: object = {}, seed = 1): Promise<Folder> {
  return randomWeights({ ...TINY_GEMMA, ...overrides }, seed)
}

export function teacherFolder(overrides: object = {}): Promise<Folder> {
  return randomWeights({ ...TEACHER, ...overrides }, 2)
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
