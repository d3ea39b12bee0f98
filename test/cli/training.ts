import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect } from "vitest"
import { randomCheckpoint } from "../../src/index.ts"
import { pathFolder } from "../../src/platform/node_files.ts"
import { DEVICE, gemlet, type Result, type Running, start } from "./run.ts"

/** A model whose steps take milliseconds, with storyteller's tokenizer. */
export const CONFIG = {
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
  max_position_embeddings: 128,
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

const STORIES = Array.from({ length: 24 }, (_, i) => ({
  text: `Once there was a ${["cat", "dog", "bird", "fox"][i % 4]} who liked to ${["run", "sing", "sleep"][i % 3]}. The end.`,
}))

/** Everything that a test of training needs, in a folder of its own. */
export class Workplace {
  readonly home = mkdtempSync(join(tmpdir(), "gemlet-train-"))
  readonly model = this.path("base")
  readonly data = this.path("stories.jsonl")
  readonly config = this.path("config.json")

  static async make(): Promise<Workplace> {
    const place = new Workplace()
    const tokenizer = pathFolder(fileURLToPath(new URL("../../weights/storyteller", import.meta.url)))
    const folder = await randomCheckpoint(CONFIG, { seed: 1, tokenizer })
    mkdirSync(place.model)
    for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]) {
      const source = (await folder.open(file))!
      writeFileSync(join(place.model, file), new Uint8Array(await source.slice(0, source.byteLength)))
    }
    await tokenizer.close?.()
    place.write("stories.jsonl", STORIES.map((record) => `${JSON.stringify(record)}\n`).join(""))
    place.write("config.json", JSON.stringify(CONFIG))
    return place
  }

  path(name: string): string {
    return join(this.home, name)
  }

  write(name: string, text: string): string {
    writeFileSync(this.path(name), text)
    return this.path(name)
  }

  read(...names: string[]): Buffer {
    return readFileSync(join(this.home, ...names))
  }

  remove(): void {
    rmSync(this.home, { recursive: true, force: true })
  }

  /** The arguments of a short run into a folder of this name. */
  tuneArgs(out: string, ...more: string[]): string[] {
    const short = ["--batch", "2", "--context", "24", "--lr", "0.01", "--held-out", "2", "--rank", "4"]
    return ["tune", "--model", this.model, "--data", this.data, "--out", this.path(out), ...short, ...DEVICE, ...more]
  }

  tune(out: string, ...more: string[]): Promise<Result> {
    return gemlet(this.tuneArgs(out, ...more))
  }

  start(out: string, ...more: string[]): Running {
    return start(this.tuneArgs(out, ...more))
  }
}

/** The objects of a run that prints one a line. */
export function jsonLines({ code, stdout, stderr }: Result): ReturnType<typeof JSON.parse>[] {
  expect(code, stderr).toBe(0)
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))
}

/** Fails unless a command went well; gives what it printed. */
export function expectSuccess({ code, stdout, stderr }: Result): string {
  expect(code, stderr).toBe(0)
  return stdout
}
