// Writes the checkpoint as the ONNX graph that published Gemma 3 models have: onnxruntime's fused attention, norms and
// 4-bit products, keys and values as inputs and outputs, weights in a file beside it.
import { isGlobal, madeOnce, SHAPE, Weights } from "./checkpoint.ts"
import { OnnxFile } from "./onnx_file.ts"
import { type Activation, asStored, BLOCK, encode, quantized, transposed } from "./onnx_weights.ts"
import { Float } from "./protobuf.ts"

/** What `@huggingface/transformers` calls the types, and onnxruntime's files after them. */
export type OnnxType = "fp32" | "fp16" | "q4" | "q4f16"

/** Positions that rotary tables reach. */
const POSITIONS = 2048

const { layers, width: C, heads: H, kvHeads: G, headDim: D, vocabulary: V, window, eps } = SHAPE

/** The name of a model's file, by the convention of published ones. */
export function onnxName(type: OnnxType): string {
  return type === "fp32" ? "model.onnx" : `model_${type}.onnx`
}

/** Names of a quantized matrix's tensors. */
interface Packed {
  readonly codes: string
  readonly scales: string
}

/** The folder with the model, made where it is missing. */
export function gemmaOnnx(type: OnnxType): Promise<string> {
  return madeOnce(`onnx-${type}`, (folder) => writeGemmaOnnx(folder, type))
}

async function writeGemmaOnnx(folder: string, type: OnnxType): Promise<void> {
  const weights = await Weights.open()
  try {
    const file = await OnnxFile.create(folder, onnxName(type))
    await new GemmaGraph(file, weights, type).write()
    await file.close()
  } finally {
    await weights.close()
  }
}

class GemmaGraph {
  readonly #file: OnnxFile
  readonly #weights: Weights
  readonly #quantize: boolean
  readonly #element: Activation

  constructor(file: OnnxFile, weights: Weights, type: OnnxType) {
    this.#file = file
    this.#weights = weights
    this.#quantize = type === "q4" || type === "q4f16"
    this.#element = type === "fp32" || type === "q4" ? "f32" : "f16"
  }

  async write(): Promise<void> {
    const file = this.#file
    const ids = file.input("input_ids", "i64", ["batch_size", "sequence_length"])
    const lengths = this.#lengths(file.input("attention_mask", "i64", ["batch_size", "total_sequence_length"]))
    const rotary = { local: await this.#rotary("local"), global: await this.#rotary("global") }
    let x = await this.#embed(ids)
    let n = await this.#norm("layers.0.input_layernorm", x)
    for (let layer = 0; layer < layers; layer++) {
      const at = (name: string) => `layers.${layer}.${name}`
      const angles = rotary[isGlobal(layer) ? "global" : "local"]
      const a = await this.#norm(at("post_attention_layernorm"), await this.#attention(layer, n, lengths, angles))
      const [m, h] = await this.#addNorm(at("pre_feedforward_layernorm"), x, a)
      const d = await this.#norm(at("post_feedforward_layernorm"), await this.#mlp(at("mlp"), m))
      const next = layer + 1 < layers ? `layers.${layer + 1}.input_layernorm` : "norm"
      const [normed, sum] = await this.#addNorm(next, h, d)
      x = sum
      n = normed
    }
    // Logits of the last position only: all of them would take 1 MB a token, and cost what nothing reads.
    const ends = [file.integers("last", [-1]), file.integers("end", [2 ** 31]), file.integers("axis", [1])]
    const last = file.node("Slice", "last_hidden", [n, ...ends])
    const logits = await this.#head(last)
    file.node("Cast", "logits", [logits], { to: 1 })
    file.output("logits", "f32", ["batch_size", 1, V])
  }

  /** The last key's position and the number of keys, as attention wants them. */
  #lengths(mask: string): string[] {
    const file = this.#file
    const count = file.node("ReduceSum", "mask_sum", [mask, file.integers("mask_axis", [1])], { keepdims: 0 })
    const last = file.node("Sub", "last_key", [count, file.integers("one", [1])])
    const shape = file.node("Shape", "mask_shape", [mask])
    const total = file.node("Gather", "mask_length", [shape, file.integers("second", [1])], { axis: 0 })
    return [
      file.node("Cast", "seqlens_k", [last], { to: 6 }),
      file.node("Cast", "total_sequence_length", [total], { to: 6 }),
    ]
  }

  /** Tables of cosines and sines, `[POSITIONS, D / 2]`. */
  async #rotary(kind: "local" | "global"): Promise<string[]> {
    const base = kind === "local" ? SHAPE.ropeLocal : SHAPE.ropeGlobal
    const table = (wave: (angle: number) => number) =>
      Float32Array.from({ length: (POSITIONS * D) / 2 }, (_, i) => {
        const [position, pair] = [Math.floor(i / (D / 2)), i % (D / 2)]
        return wave(position * base ** ((-2 * pair) / D))
      })
    const shape = [POSITIONS, D / 2]
    return [
      await this.#file.weight(`cos_${kind}`, this.#element, shape, [encode(this.#element, table(Math.cos))]),
      await this.#file.weight(`sin_${kind}`, this.#element, shape, [encode(this.#element, table(Math.sin))]),
    ]
  }

  async #embed(ids: string): Promise<string> {
    const file = this.#file
    // sqrt(C) as the reference rounds it, to bf16.
    const factor = await file.weight("embed_scale", this.#element, [1], [encode(this.#element, Float32Array.of(25.25))])
    if (!this.#quantize) {
      const rows = asStored(this.#weights, "embed_tokens", this.#element)
      const table = await file.weight("embed_tokens", this.#element, [V, C], rows)
      return file.node("Mul", "embedded", [file.node("Gather", "gathered", [table, ids]), factor])
    }
    const packed = await this.#quantized("embed_tokens", [V, C / 2])
    const attributes = { bits: 4, block_size: BLOCK, gather_axis: 0, quantize_axis: 1 }
    const gathered = file.node("GatherBlockQuantized", "gathered", [packed.codes, ids, packed.scales], attributes)
    return file.node("Mul", "embedded", [gathered, factor])
  }

  async #attention(layer: number, n: string, lengths: readonly string[], angles: readonly string[]): Promise<string> {
    const file = this.#file
    const path = `layers.${layer}.self_attn`
    const q = await this.#headNorm(`${path}.q_norm`, await this.#linear(`${path}.q_proj`, n), H)
    const k = await this.#headNorm(`${path}.k_norm`, await this.#linear(`${path}.k_proj`, n), G)
    const v = await this.#linear(`${path}.v_proj`, n)
    const cached = ["key", "value"].map((part) => {
      const [past, present] = [`past_key_values.${layer}.${part}`, `present.${layer}.${part}`]
      file.output(present, this.#element, ["batch_size", G, "total_sequence_length", D])
      return [file.input(past, this.#element, ["batch_size", G, "past_sequence_length", D]), present] as const
    })
    const inputs = [q, k, v, ...cached.map(([past]) => past), ...lengths, ...angles]
    const attributes = {
      num_heads: H,
      kv_num_heads: G,
      scale: new Float(D ** -0.5),
      local_window_size: isGlobal(layer) ? -1 : window,
      do_rotary: 1,
    }
    const name = `${path}.attended`
    file.node("GroupQueryAttention", name, inputs, attributes, [name, ...cached.map(([, present]) => present)])
    return this.#linear(`${path}.o_proj`, name)
  }

  /** A norm over each head's values. */
  async #headNorm(name: string, x: string, heads: number): Promise<string> {
    const file = this.#file
    const split = file.node("Reshape", `${name}.split`, [x, file.integers(`${name}.heads`, [0, -1, D])])
    const normed = await this.#norm(name, split)
    return file.node("Reshape", `${name}.joined`, [normed, file.integers(`${name}.width`, [0, -1, heads * D])])
  }

  async #mlp(path: string, x: string): Promise<string> {
    const gate = this.#file.node("FastGelu", `${path}.gelu`, [await this.#linear(`${path}.gate_proj`, x)])
    const gated = this.#file.node("Mul", `${path}.gated`, [gate, await this.#linear(`${path}.up_proj`, x)])
    return this.#linear(`${path}.down_proj`, gated)
  }

  async #norm(name: string, x: string): Promise<string> {
    const attributes = { axis: -1, epsilon: new Float(eps), stash_type: 1 }
    return this.#file.node("SimplifiedLayerNormalization", `${name}.out`, [x, await this.#normWeight(name)], attributes)
  }

  /** The norm of a sum, and the sum. */
  async #addNorm(name: string, x: string, y: string): Promise<[string, string]> {
    const [out, sum] = [`${name}.out`, `${name}.sum`]
    const inputs = [x, y, await this.#normWeight(name)]
    this.#file.node("SkipSimplifiedLayerNormalization", out, inputs, { epsilon: new Float(eps) }, [out, "", "", sum])
    return [out, sum]
  }

  async #normWeight(name: string): Promise<string> {
    const pieces: Uint8Array[] = []
    for await (const values of this.#weights.values(name))
      pieces.push(
        encode(
          this.#element,
          values.map((value) => 1 + value),
        ),
      )
    return this.#file.weight(name, this.#element, this.#weights.shape(name), pieces)
  }

  /** `x W^T`, with W `[N, K]`. */
  async #linear(name: string, x: string): Promise<string> {
    const [N, K] = this.#weights.shape(name) as [number, number]
    if (this.#quantize) return this.#product(name, x, await this.#quantized(name, [N, K / BLOCK, BLOCK / 2]), [N, K])
    const columns = transposed(this.#weights, name, this.#element)
    const weight = await this.#file.weight(`${name}.transposed`, this.#element, [K, N], columns)
    return this.#file.node("MatMul", `${name}.out`, [x, weight])
  }

  /** The head is the embedding: the same codes where it is quantized, else a copy that lies as products want it. */
  async #head(x: string): Promise<string> {
    if (!this.#quantize) return this.#linear("embed_tokens", x)
    const codes = this.#file.alias("lm_head.codes", "embed_tokens.codes", [V, C / BLOCK, BLOCK / 2])
    return this.#product("lm_head", x, { codes, scales: "embed_tokens.scales" }, [V, C])
  }

  #product(name: string, x: string, { codes, scales }: Packed, [N, K]: readonly [number, number]): string {
    // Level 4 lets onnxruntime round activations to int8, its fastest way.
    const attributes = { N, K, bits: 4, block_size: BLOCK, accuracy_level: 4 }
    return this.#file.node("MatMulNBits", `${name}.out`, [x, codes, scales], attributes)
  }

  /** Codes, of a shape that operators differ in, and scales `[N, K / BLOCK]`. */
  async #quantized(name: string, shape: readonly number[]): Promise<Packed> {
    const [N, K] = this.#weights.shape(name) as [number, number]
    const { codes, scales } = await quantized(this.#weights, name, this.#element)
    return {
      codes: await this.#file.weight(`${name}.codes`, "u8", shape, [codes]),
      scales: await this.#file.weight(`${name}.scales`, this.#element, [N, K / BLOCK], [scales]),
    }
  }
}
