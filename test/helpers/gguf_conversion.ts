import type { Files } from "../model/fixture_folders.ts"
import {
  decodeHalf,
  type Entry,
  type GgufKind,
  quantize,
  type WriterTensor,
  type WriterType,
  writeGguf,
} from "./gguf_writer.ts"

/** Checkpoints as llama.cpp's convert_hf_to_gguf.py writes them. */

/** A tensor of a safetensors file, its values too. */
export interface Plain {
  readonly name: string
  readonly dtype: "F32" | "F16" | "BF16"
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
  readonly values: Float32Array
}

export function readPlain(file: Uint8Array): Plain[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const end = 8 + Number(view.getBigUint64(0, true))
  const header: Record<string, { dtype: Plain["dtype"]; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    new TextDecoder().decode(file.subarray(8, end)),
  )
  delete header.__metadata__
  return Object.entries(header).map(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [from, to],
      },
    ]) => {
      const bytes = file.slice(end + from, end + to)
      return { name, dtype, shape, bytes, values: valuesOf(dtype, bytes) }
    },
  )
}

function valuesOf(dtype: Plain["dtype"], bytes: Uint8Array): Float32Array {
  if (dtype === "F32") return new Float32Array(bytes.slice().buffer)
  const halves = new Uint16Array(bytes.slice().buffer)
  if (dtype === "F16") return Float32Array.from(halves, decodeHalf)
  return new Float32Array(Uint32Array.from(halves, (half) => half * 65536).buffer)
}

type Config = Record<string, number & number[] & { factor: number }> & { model_type: string }

/** The config of a checkpoint's files, in JSON. */
export function configOf(files: Files): Config {
  return JSON.parse(new TextDecoder().decode(files.get("config.json")))
}

const NAMES: readonly (readonly [from: RegExp, to: string])[] = [
  [/^model\.embed_tokens\./, "token_embd."],
  [/^model\.norm\./, "output_norm."],
  [/^lm_head\./, "output."],
  [/^model\.layers\.(\d+)\./, "blk.$1."],
  [/\.input_layernorm\./, ".attn_norm."],
  [/\.self_attn\.([qkv])_proj\./, ".attn_$1."],
  [/\.self_attn\.o_proj\./, ".attn_output."],
  [/\.self_attn\.([qk])_norm\./, ".attn_$1_norm."],
  [/\.mlp\.(gate|up|down)_proj\./, ".ffn_$1."],
  [/\.pre_feedforward_layernorm\./, ".ffn_norm."],
  [/\.post_feedforward_layernorm\./, ".post_ffw_norm."],
]

/** What the conversion writes for a checkpoint of one safetensors file: matrices in `type` where their rows allow it. */
export function ggufTensors(files: Files, type: WriterType): WriterTensor[] {
  const config = configOf(files)
  const four = config.model_type !== "gemma" && config.model_type !== "llama"
  return readPlain(files.get("model.safetensors")!).map((tensor): WriterTensor => {
    const second = four ? ".post_attention_norm." : ".ffn_norm."
    const renamed = NAMES.reduce((name, [from, to]) => name.replace(from, to), tensor.name)
    const name = renamed.replace(".post_attention_layernorm.", second)
    if (tensor.shape.length === 1) {
      const one = config.model_type === "llama" ? 0 : 1
      return { name, type: "F32", shape: tensor.shape, bytes: bytesOf(tensor.values.map((weight) => weight + one)) }
    }
    return { name, shape: tensor.shape, ...matrixAs(type, permuted(tensor, name, config)) }
  })
}

function matrixAs(type: WriterType, { dtype, bytes, values, shape }: Plain): Pick<WriterTensor, "type" | "bytes"> {
  if (type === "Q4_0" || type === "Q8_0") {
    return shape[1]! % 32 === 0 ? { type, bytes: quantize(type, values) } : { type: "F32", bytes: bytesOf(values) }
  }
  if (type !== dtype && type !== "F32") throw new Error(`gguf_writer: ${dtype} cannot become ${type}`)
  return type === dtype ? { type, bytes } : { type, bytes: bytesOf(values) }
}

/** `LlamaModel.permute`: a head's rows, seen as [2, D / 2], are transposed. */
function permuted(tensor: Plain, name: string, config: Config): Plain {
  if (config.model_type !== "llama" || !/attn_[qk]\./.test(name)) return tensor
  const [D, C] = [config.head_dim as number, tensor.shape[1]!]
  const move = <T extends Uint8Array | Float32Array>(rows: T, width: number): T => {
    const moved = rows.slice() as T
    for (let row = 0; row < tensor.shape[0]!; row++) {
      const [head, inside] = [Math.floor(row / D), row % D]
      const to = head * D + (inside % (D / 2)) * 2 + Math.floor(inside / (D / 2))
      moved.set(rows.subarray(row * width, (row + 1) * width), to * width)
    }
    return moved
  }
  return {
    ...tensor,
    values: move(tensor.values, C),
    bytes: move(tensor.bytes, (C * tensor.bytes.length) / tensor.values.length),
  }
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer)
}

const ARCHITECTURES: Record<string, string> = {
  gemma: "gemma",
  gemma2: "gemma2",
  gemma3_text: "gemma3",
  llama: "llama",
}

/** What the conversion writes of a config. */
export function ggufMetadata(files: Files): Entry[] {
  const config = configOf(files)
  const architecture = ARCHITECTURES[config.model_type]!
  const rows: [string, GgufKind, unknown][] = [
    ["context_length", "u32", config.max_position_embeddings],
    ["embedding_length", "u32", config.hidden_size],
    ["block_count", "u32", config.num_hidden_layers],
    ["feed_forward_length", "u32", config.intermediate_size],
    ["attention.head_count", "u32", config.num_attention_heads],
    ["attention.head_count_kv", "u32", config.num_key_value_heads],
    ["attention.layer_norm_rms_epsilon", "f32", config.rms_norm_eps],
    ["attention.key_length", "u32", config.head_dim],
    ["attention.value_length", "u32", config.head_dim],
    ["rope.freq_base", "f32", config.rope_theta ?? 1e6],
    ["attention.sliding_window", "u32", config.sliding_window],
    ["attn_logit_softcapping", "f32", config.attn_logit_softcapping],
    ["final_logit_softcapping", "f32", config.final_logit_softcapping],
    ["rope.scaling.type", "string", config.rope_scaling ? "linear" : undefined],
    ["rope.scaling.factor", "f32", config.rope_scaling?.factor],
  ]
  const written = rows.filter(([, , value]) => value !== undefined && value !== null)
  return [
    ["general.architecture", "string", architecture],
    ["general.type", "string", "model"],
    ["general.name", "string", "a fixture"],
    ...written.map(([key, kind, value]): Entry => [`${architecture}.${key}`, kind, value]),
    ["tokenizer.ggml.bos_token_id", "u32", config.bos_token_id],
    ["tokenizer.ggml.eos_token_id", "u32", [config.eos_token_id].flat()[0]],
  ]
}

/** A golden checkpoint as one GGUF file. */
export function ggufOf(files: Files, type: WriterType, more: readonly Entry[] = []): Uint8Array {
  return writeGguf([...ggufMetadata(files), ...more], ggufTensors(files, type))
}

interface TokenizerJson {
  readonly model: { readonly vocab: Record<string, number>; readonly merges: readonly (string | [string, string])[] }
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[]
}

const LOOKS_SPECIAL = /^<pad>$|^<mask>$|^<\||^<unused\d+>$/

/** What the conversion writes of a SentencePiece vocabulary: a token's score by its first merge, that of added ones -1000. */
export function tokenizerMetadata(json: TokenizerJson, { gemma = true, merges = false } = {}): Entry[] {
  const { vocab } = json.model
  const pairs = json.model.merges.map((merge) => (typeof merge === "string" ? merge.split(" ") : merge))
  const ids = [...Object.values(vocab), ...json.added_tokens.map(({ id }) => id)]
  const size = ids.reduce((most, id) => Math.max(most, id), 0) + 1
  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`)
  const kinds = new Array<number>(size).fill(5)
  const scores = new Array<number>(size).fill(0)
  for (const [rank, pair] of [...pairs.entries()].reverse()) scores[vocab[pair.join("")]!] = -rank
  for (const [token, id] of Object.entries(vocab)) {
    tokens[id] = token
    kinds[id] = /^<0x[0-9A-F]{2}>$/.test(token) ? 6 : 1
  }
  for (const { id, content, special } of json.added_tokens) {
    const control = special || LOOKS_SPECIAL.test(content)
    tokens[id] = control ? content : content.replaceAll("\u2581", " ")
    kinds[id] = content === "<unk>" ? 2 : control ? 3 : 4
    scores[id] = -1000
  }
  return [
    ["tokenizer.ggml.model", "string", "llama"],
    ["tokenizer.ggml.tokens", "string", tokens],
    ["tokenizer.ggml.scores", "f32", scores],
    ["tokenizer.ggml.token_type", "i32", kinds],
    ["tokenizer.ggml.unknown_token_id", "u32", tokens.indexOf("<unk>")],
    ["tokenizer.ggml.add_bos_token", "bool", true],
    ["tokenizer.ggml.add_space_prefix", "bool", !gemma],
    ...(merges ? ([["tokenizer.ggml.merges", "string", pairs.map((pair) => pair.join(" "))]] as Entry[]) : []),
  ]
}
