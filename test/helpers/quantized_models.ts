import { afterEach } from "vitest"
import {
  type Folder,
  type LanguageModel,
  type LoadOptions,
  load,
  type MemoryStore,
  memoryFolder,
  memorySource,
  memoryStore,
  type QuantizeOptions,
  quantize,
  randomCheckpoint,
} from "../../src/index.ts"
import { readHeader, type SafetensorsEntry } from "../../src/model/safetensors.ts"
import { type Files, safetensors } from "../model/fixture_folders.ts"
import { testDeviceKind } from "./device.ts"
import { golden } from "./golden.ts"

export const FILE = "model.safetensors"
export const DTYPES = ["q4", "q8"] as const
const device = testDeviceKind()
export const IDS = golden("goldens/tiny-gemma3").prompts[4]!.ids // 40 tokens, past the window of 16
/** All widths are multiples of 32; the rows of k and v are 32, so that projections lie behind one another. */
export const CONFIG = {
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

/** Loads models for a test file's tests, and disposes of them after each. */
export function testModels(): (folder: Folder, options?: LoadOptions) => Promise<LanguageModel> {
  const opened: LanguageModel[] = []
  afterEach(async () => {
    for (const lm of opened.splice(0)) await lm.dispose()
  })
  return async (folder, options = {}) => {
    const lm = await load(folder, { device, context: 64, chunk: 32, ...options })
    opened.push(lm)
    return lm
  }
}

export const randomModel = () => randomCheckpoint(CONFIG, { seed: 5 })

export async function quantized(folder: Folder, options: QuantizeOptions): Promise<MemoryStore> {
  const store = memoryStore()
  await quantize(folder, store, { device, ...options })
  return store
}

/** What a prompt and an answer, token by token, come to. */
export async function outputs(lm: LanguageModel) {
  const ids = IDS.map((id) => id % lm.config.vocabSize)
  const { data } = await lm.logits(ids)
  const answer = lm.generate(ids.slice(0, 20), { temperature: 0, maxTokens: 8, ignoreEos: true })
  for await (const _ of answer);
  return { data, tokens: answer.tokens }
}

/** The tensors of a file with their bytes. */
export async function tensorsOf(files: ReadonlyMap<string, Uint8Array>) {
  const bytes = files.get(FILE)!
  const { tensors } = await readHeader(memorySource(bytes), FILE)
  return new Map([...tensors].map(([name, info]) => [name, { ...info, bytes: bytes.slice(info.start, info.end) }]))
}

/** The same files with tensors changed; one that becomes undefined is gone. */
export async function changed(
  files: ReadonlyMap<string, Uint8Array>,
  change: (entry: SafetensorsEntry & { bytes: Uint8Array }) => SafetensorsEntry | SafetensorsEntry[] | undefined,
): Promise<Folder> {
  const entries = [...(await tensorsOf(files)).values()].flatMap(({ name, dtype, shape, bytes }) => {
    return change({ name, dtype, shape, bytes }) ?? []
  })
  return memoryFolder("changed", new Map(files).set(FILE, await safetensors(entries)))
}

/** What codes in a file stand for, by the description in docs/quantization.md. */
export function valuesOf(tensors: Awaited<ReturnType<typeof tensorsOf>>, name: string): Float32Array {
  const { dtype, shape, bytes } = tensors.get(name)!
  const columns = dtype === "U8" ? 2 * shape[1]! : shape[1]!
  const scales = new Float32Array(tensors.get(`${name}_scale`)!.bytes.slice().buffer)
  const zeros = tensors.get(`${name}_zero_sixteenths`)?.bytes
  return Float32Array.from({ length: shape[0]! * columns }, (_, i) => {
    const block = Math.floor(i / 32)
    if (!zeros) return scales[block]! * ((bytes[i]! << 24) >> 24)
    const code = i % 2 === 0 ? bytes[i / 2]! % 16 : Math.floor(bytes[(i - 1) / 2]! / 16)
    return scales[block]! * (code - zeros[block]! / 16)
  })
}

/** The files with every weight that is stored as codes in F32 instead. */
export async function dequantized(files: ReadonlyMap<string, Uint8Array>): Promise<Files> {
  const tensors = await tensorsOf(files)
  const entries = [...tensors.values()].flatMap(({ name, dtype, shape, bytes }): SafetensorsEntry[] => {
    if (/_scale$|_zero_sixteenths$/.test(name)) return []
    if (dtype !== "U8" && dtype !== "I8") return [{ name, dtype, shape, bytes }]
    const columns = dtype === "U8" ? 2 * shape[1]! : shape[1]!
    return [{ name, dtype: "F32", shape: [shape[0]!, columns], bytes: new Uint8Array(valuesOf(tensors, name).buffer) }]
  })
  return new Map(files).set(FILE, await safetensors(entries))
}
