import { parseConfig } from "../../src/model/config.ts"
import { writeSafetensors } from "../../src/model/safetensors.ts"
import { type Folder, memoryFolder } from "../../src/model/source.ts"
import { weightTable } from "../../src/model/weights.ts"

/** mulberry32 (T. Ettinger, public domain): uniform in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const TINY = {
  model_type: "gemma3_text",
  vocab_size: 96,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 16,
  sliding_window: 8,
  max_position_embeddings: 256,
  bos_token_id: 2,
  eos_token_id: 1,
}

/** A small Gemma 3 with random f32 weights, in memory. `overrides` are keys of config.json. */
export async function randomCheckpoint(overrides: Record<string, unknown> = {}, seed = 1): Promise<Folder> {
  const json = { ...TINY, ...overrides }
  const next = random(seed)
  const entries = weightTable(parseConfig(json, "config.json")).map(({ name, shape }) => {
    const count = shape.reduce((product, n) => product * n, 1)
    const values = Float32Array.from({ length: count }, () => (next() - 0.5) * (shape.length === 1 ? 0.5 : 0.6))
    const head = name === "lm_head.weight" ? name : `model.${name}`
    return { name: head, dtype: "F32" as const, shape: [...shape], bytes: new Uint8Array(values.buffer) }
  })
  const chunks: Uint8Array[] = []
  for await (const chunk of writeSafetensors(entries)) chunks.push(chunk)
  const config = new TextEncoder().encode(JSON.stringify(json))
  return memoryFolder(
    "random checkpoint",
    new Map([
      ["config.json", config],
      ["model.safetensors", Buffer.concat(chunks)],
    ]),
  )
}
