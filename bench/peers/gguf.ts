// Writes the checkpoint as GGUF, version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
import { decodeToFloat32, encodeF16 } from "../../src/model/safetensors.ts"
import { writeFileAtomic } from "../../src/platform/node_files.ts"
import { SHAPE, Weights } from "./checkpoint.ts"

export type GgufType = "bf16" | "q8_0" | "q4_0"
type TensorType = GgufType | "f32"
type Value = number | string | Float | readonly string[] | Float32Array | Int32Array

/** A number that the format wants as a float. Others are unsigned 32-bit integers. */
class Float {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

/** Codes, weights of a block and its bytes, as ggml has them. */
const TYPES: Record<TensorType, { code: number; block: number; bytes: number }> = {
  f32: { code: 0, block: 1, bytes: 4 },
  q4_0: { code: 2, block: 32, bytes: 18 },
  q8_0: { code: 8, block: 32, bytes: 34 },
  bf16: { code: 30, block: 1, bytes: 2 },
}
const FILE_TYPES: Record<GgufType, number> = { q4_0: 2, q8_0: 7, bf16: 32 }
const ALIGNMENT = 32

const NAMES: Record<string, string> = {
  embed_tokens: "token_embd",
  norm: "output_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  input_layernorm: "attn_norm",
  post_attention_layernorm: "post_attention_norm",
  pre_feedforward_layernorm: "ffn_norm",
  post_feedforward_layernorm: "post_ffw_norm",
}

/**
 * Writes the checkpoint with its matrices in one type. Norms are f32 and hold `1 + weight`; with q4_0 the embedding, which
 * is the head as well, is q8_0, as `llama-quantize` makes it where rows are no multiple of 256.
 */
export async function writeGguf(path: string, type: GgufType): Promise<void> {
  const weights = await Weights.open()
  try {
    await writeFileAtomic(path, gguf(weights, type))
  } finally {
    await weights.close()
  }
}

async function* gguf(weights: Weights, type: GgufType): AsyncGenerator<Uint8Array> {
  const names = weights.names
  const typeOf = (name: string): TensorType => {
    if (weights.shape(name).length === 1) return "f32"
    return name === "embed_tokens" && type === "q4_0" ? "q8_0" : type
  }
  const bytesOf = (name: string) => {
    const { block, bytes } = TYPES[typeOf(name)]
    return (count(weights.shape(name)) / block) * bytes
  }
  const header = new Bytes()
  const entries = Object.entries(metadata(type))
  header.text("GGUF", false).u32(3).u64(names.length).u64(entries.length)
  for (const [key, value] of entries) header.text(key).value(value)
  let offset = 0
  for (const name of names) {
    const shape = weights.shape(name)
    header.text(ggufName(name)).u32(shape.length)
    for (const n of [...shape].reverse()) header.u64(n)
    header.u32(TYPES[typeOf(name)].code).u64(offset)
    offset += aligned(bytesOf(name))
  }
  header.pad()
  yield header.bytes()
  for (const name of names) {
    for await (const halves of weights.halves(name)) yield encode(typeOf(name), halves)
    yield new Uint8Array(aligned(bytesOf(name)) - bytesOf(name))
  }
}

function metadata(type: GgufType): Record<string, Value> {
  const { vocabulary, eps } = SHAPE
  return {
    "general.architecture": "gemma3",
    "general.name": "random weights of Gemma 3 270M's shape",
    "general.file_type": FILE_TYPES[type],
    "gemma3.context_length": 32_768,
    "gemma3.embedding_length": SHAPE.width,
    "gemma3.block_count": SHAPE.layers,
    "gemma3.feed_forward_length": SHAPE.mlpWidth,
    "gemma3.attention.head_count": SHAPE.heads,
    "gemma3.attention.head_count_kv": SHAPE.kvHeads,
    "gemma3.attention.key_length": SHAPE.headDim,
    "gemma3.attention.value_length": SHAPE.headDim,
    "gemma3.attention.sliding_window": SHAPE.window,
    "gemma3.attention.layer_norm_rms_epsilon": new Float(eps),
    "gemma3.rope.freq_base": new Float(SHAPE.ropeGlobal),
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": Array.from({ length: vocabulary }, (_, id) => tokenText(id)),
    "tokenizer.ggml.scores": new Float32Array(vocabulary),
    "tokenizer.ggml.token_type": Int32Array.from({ length: vocabulary }, (_, id) => (isByte(id) ? BYTE : NORMAL)),
    "tokenizer.ggml.bos_token_id": 2,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.unknown_token_id": 3,
  }
}

const NORMAL = 1
const BYTE = 6
const FIRST_BYTE = 238

function isByte(id: number): boolean {
  return id >= FIRST_BYTE && id < FIRST_BYTE + 256
}

/** Ids go in and come out, so that any distinct texts do; but llama.cpp looks for those of single bytes. */
function tokenText(id: number): string {
  if (!isByte(id)) return `<t${id}>`
  return `<0x${(id - FIRST_BYTE).toString(16).toUpperCase().padStart(2, "0")}>`
}

function ggufName(name: string): string {
  const [, layer, path] = /^layers\.(\d+)\.(.+)$/.exec(name) ?? []
  const stem = NAMES[path ?? name]
  if (!stem) throw new TypeError(`gguf: ${name} has no name in GGUF, expected a tensor of Gemma 3`)
  return `${layer === undefined ? "" : `blk.${layer}.`}${stem}.weight`
}

function encode(type: TensorType, halves: Uint16Array<ArrayBuffer>): Uint8Array {
  if (type === "bf16") return new Uint8Array(halves.buffer)
  const values = decodeToFloat32("BF16", new Uint8Array(halves.buffer))
  if (type === "f32") return new Uint8Array(values.map((value) => 1 + value).buffer)
  return type === "q8_0" ? encodeQ8(values) : encodeQ4(values)
}

/** Blocks of 32: an f16 step, then int8. The step is a 127th of the block's largest magnitude. */
function encodeQ8(values: Float32Array): Uint8Array {
  const blocks = values.length / 32
  const steps = new Float32Array(blocks)
  for (let b = 0; b < blocks; b++) {
    for (let i = 32 * b; i < 32 * b + 32; i++) steps[b] = Math.max(steps[b]!, Math.abs(values[i]!) / 127)
  }
  const halves = new Uint8Array(encodeF16(steps).buffer)
  const bytes = new Uint8Array(34 * blocks)
  for (let b = 0; b < blocks; b++) {
    bytes.set(halves.subarray(2 * b, 2 * b + 2), 34 * b)
    const inverse = steps[b] === 0 ? 0 : 1 / steps[b]!
    for (let i = 0; i < 32; i++) bytes[34 * b + 2 + i] = Math.round(values[32 * b + i]! * inverse)
  }
  return bytes
}

/** Blocks of 32: an f16 step, then 16 bytes of two codes each, 0..15 for -8..7 steps. The largest magnitude is -8 steps. */
function encodeQ4(values: Float32Array): Uint8Array {
  const blocks = values.length / 32
  const steps = new Float32Array(blocks)
  for (let b = 0; b < blocks; b++) {
    let largest = 0
    for (let i = 32 * b; i < 32 * b + 32; i++) if (Math.abs(values[i]!) > Math.abs(largest)) largest = values[i]!
    steps[b] = largest / -8
  }
  const halves = new Uint8Array(encodeF16(steps).buffer)
  const bytes = new Uint8Array(18 * blocks)
  for (let b = 0; b < blocks; b++) {
    bytes.set(halves.subarray(2 * b, 2 * b + 2), 18 * b)
    const inverse = steps[b] === 0 ? 0 : 1 / steps[b]!
    const code = (i: number) => Math.min(15, Math.floor(values[32 * b + i]! * inverse + 8.5))
    for (let i = 0; i < 16; i++) bytes[18 * b + 2 + i] = code(i) | (code(i + 16) << 4)
  }
  return bytes
}

function count(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1)
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
}

/** A header being written, little-endian. */
class Bytes {
  readonly #parts: Uint8Array[] = []
  #length = 0

  u32(value: number): this {
    return this.#add(Uint32Array.of(value))
  }

  u64(value: number): this {
    return this.#add(BigUint64Array.of(BigInt(value)))
  }

  text(text: string, counted = true): this {
    const bytes = new TextEncoder().encode(text)
    return counted ? this.u64(bytes.length).#add(bytes) : this.#add(bytes)
  }

  value(value: Value): this {
    if (typeof value === "number") return this.u32(4).u32(value)
    if (value instanceof Float) return this.u32(6).#add(Float32Array.of(value.value))
    if (typeof value === "string") return this.u32(8).text(value)
    this.u32(9)
    if (value instanceof Float32Array) return this.u32(6).u64(value.length).#add(value)
    if (value instanceof Int32Array) return this.u32(5).u64(value.length).#add(value)
    this.u32(8).u64(value.length)
    for (const text of value) this.text(text)
    return this
  }

  pad(): this {
    return this.#add(new Uint8Array(aligned(this.#length) - this.#length))
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts)
  }

  #add(data: Uint8Array | Uint32Array | Int32Array | Float32Array | BigUint64Array): this {
    this.#parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    this.#length += data.byteLength
    return this
  }
}
