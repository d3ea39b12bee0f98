import type { ModelConfig } from "./config.ts"

/** One tensor that a model needs. */
export interface WeightSpec {
  /** Where it goes in the model: `layers.3.mlp.gate`. */
  readonly field: string
  /** Its name in the checkpoint, without the prefix of the text model: `layers.3.mlp.gate_proj.weight`. */
  readonly name: string
  readonly shape: readonly number[]
  /** The shape in the project's alphabet: `[F, C]`. */
  readonly letters: string
}

type Row = readonly [field: string, name: string, letters: string]

const EMBEDDING: Row = ["embedding", "embed_tokens", "[V, C]"]
const ATTENTION: readonly Row[] = [
  ["preAttention", "input_layernorm", "[C]"],
  ["attention.q", "self_attn.q_proj", "[H*D, C]"],
  ["attention.k", "self_attn.k_proj", "[G*D, C]"],
  ["attention.v", "self_attn.v_proj", "[G*D, C]"],
  ["attention.o", "self_attn.o_proj", "[C, H*D]"],
]
const QK_NORM: readonly Row[] = [
  ["attention.qNorm", "self_attn.q_norm", "[D]"],
  ["attention.kNorm", "self_attn.k_norm", "[D]"],
]
/** Gemma 1 and Llama call the norm before the MLP "post attention"; in Gemma 2 and 3 the same name is an output norm. */
const PLAIN_NORMS: readonly Row[] = [["preMlp", "post_attention_layernorm", "[C]"]]
const SANDWICH_NORMS: readonly Row[] = [
  ["postAttention", "post_attention_layernorm", "[C]"],
  ["preMlp", "pre_feedforward_layernorm", "[C]"],
  ["postMlp", "post_feedforward_layernorm", "[C]"],
]
const MLP: readonly Row[] = [
  ["mlp.gate", "mlp.gate_proj", "[F, C]"],
  ["mlp.up", "mlp.up_proj", "[F, C]"],
  ["mlp.down", "mlp.down_proj", "[C, F]"],
]
const NORM: Row = ["norm", "norm", "[C]"]
const HEAD: Row = ["head", "lm_head", "[V, C]"]

/** Every tensor that a model of this config is made of, in the order in which a forward pass uses them. */
export function weightTable(config: ModelConfig): WeightSpec[] {
  const layer = [
    ...ATTENTION,
    ...(config.qkNorm ? QK_NORM : []),
    ...(config.sandwichNorms ? SANDWICH_NORMS : PLAIN_NORMS),
    ...MLP,
  ]
  const layers = config.layers.flatMap((_, i) =>
    layer.map(([field, name, letters]): Row => [`layers.${i}.${field}`, `layers.${i}.${name}`, letters]),
  )
  const rows = [EMBEDDING, ...layers, NORM, ...(config.tiedHead ? [] : [HEAD])]
  return rows.map(([field, name, letters]) => ({
    field,
    name: `${name}.weight`,
    shape: shapeOf(letters, config),
    letters,
  }))
}

/** `[H*D, C]` with this config's numbers. */
function shapeOf(letters: string, config: ModelConfig): number[] {
  const numbers: Record<string, number> = {
    V: config.vocabSize,
    C: config.hiddenSize,
    F: config.intermediateSize,
    H: config.numHeads,
    G: config.numKvHeads,
    D: config.headDim,
  }
  const extents = letters.slice(1, -1).split(", ")
  return extents.map((extent) => extent.split("*").reduce((product, letter) => product * numbers[letter]!, 1))
}
