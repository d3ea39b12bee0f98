import type { ModelConfig } from "./config.ts"
import type { HgrnConfig } from "./hgrn_config.ts"
import type { ExpertsConfig } from "./low_rank_config.ts"
import type { TransformerConfig } from "./transformer_config.ts"

/** One tensor that a model needs. */
export interface WeightSpec {
  /** Where it goes in the model: `layers.3.mlp.gate`. */
  readonly field: string
  /** Its name in the checkpoint, without the prefix of the text model: `layers.3.mlp.gate_proj.weight`. */
  readonly name: string
  /** Whether the model computes with its ternary form. */
  readonly ternary?: boolean
  readonly shape: readonly number[]
  /** The shape in the project's alphabet: `[F, C]`. */
  readonly letters: string
}

type Row = readonly [field: string, name: string, letters: string, ternary?: boolean]

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
const ONE_INPUT = [
  ["attention.q", "attention.k", "attention.v"],
  ["mlp.gate", "mlp.up"],
]
const NORM: Row = ["norm", "norm", "[C]"]
const HEAD: Row = ["head", "lm_head", "[V, C]"]

/** `name` has a weight and the weight of the norm inside it. */
function bitLinear(field: string, name: string, letters: string): Row[] {
  const width = letters.slice(letters.lastIndexOf(" ") + 1, -1)
  return [
    [`${field}.weight`, name, letters, true],
    [`${field}.norm`, `${name}.norm`, `[${width}]`],
  ]
}

const HGRN_EMBEDDING: readonly Row[] = [
  ["embedding", "embeddings", "[V, C]"],
  ["lowerBounds", "lower_bounds", "[L, C]"],
]
const HGRN_LAYER: readonly Row[] = [
  ["preMixer", "attn_norm", "[C]"],
  ...bitLinear("mixer.i", "attn.i_proj", "[C, C]"),
  ...bitLinear("mixer.f", "attn.f_proj", "[C, C]"),
  ...bitLinear("mixer.g", "attn.g_proj", "[C, C]"),
  ["mixer.gNorm", "attn.g_norm", "[C]"],
  ...bitLinear("mixer.o", "attn.o_proj", "[C, C]"),
  ["preMlp", "mlp_norm", "[C]"],
  ...bitLinear("mlp.gate", "mlp.gate_proj", "[2*F, C]"),
  ...bitLinear("mlp.down", "mlp.down_proj", "[C, F]"),
]

const HGRN_ONE_INPUT = [
  ["mixer.i.weight", "mixer.f.weight", "mixer.g.weight"],
  ["mixer.i.norm", "mixer.f.norm", "mixer.g.norm"],
]

/** Every tensor that a model of this config is made of, in the order in which a forward pass uses them. */
export function weightTable(config: ModelConfig): WeightSpec[] {
  const rows = config.modelType === "hgrn_bit" ? hgrnRows(config) : transformerRows(config)
  return rows.map(([field, name, letters, ternary]) => ({
    field,
    name: field === "lowerBounds" ? name : `${name}.weight`, // a parameter of the model, not of a module
    shape: shapeOf(letters, config),
    letters,
    ...(ternary && { ternary }),
  }))
}

/** The field of the norm whose output a weight multiplies, if it multiplies one's. */
export function normBefore(field: string, config: ModelConfig): string | undefined {
  if (config.modelType === "hgrn_bit") return undefined // there each ternary weight has a norm of its own
  const [, layer, part] = /^(layers\.\d+)\.(attention\.[qkv]|mlp\.(?:gate|up))$/.exec(field) ?? []
  if (layer) return `${layer}.${part!.startsWith("mlp") ? "preMlp" : "preAttention"}`
  return field === "head" || (field === "embedding" && config.tiedHead) ? "norm" : undefined
}

/** Fields of the weights that multiply one and the same input, group by group: they should lie behind one another. */
export function fieldsOfOneInput(config: ModelConfig): string[][] {
  const groups = config.modelType === "hgrn_bit" ? HGRN_ONE_INPUT : ONE_INPUT
  return Array.from({ length: config.numLayers }, (_, i) =>
    groups.map((fields) => fields.map((field) => `layers.${i}.${field}`)),
  ).flat()
}

function transformerRows(config: TransformerConfig): Row[] {
  const layer = [
    ...ATTENTION,
    ...(config.qkNorm ? QK_NORM : []),
    ...(config.sandwichNorms ? SANDWICH_NORMS : PLAIN_NORMS),
    ...MLP,
  ]
  const { experts } = config
  const rows = experts
    ? layer.flatMap((row) => (isNamed(row, experts.modules) ? expertRows(row, experts) : [row]))
    : layer
  return [EMBEDDING, ...repeated(rows, config), NORM, ...(config.tiedHead ? [] : [HEAD])]
}

function isNamed([, name]: Row, modules: readonly string[]): boolean {
  return modules.includes(name.slice(name.lastIndexOf(".") + 1))
}

/** The stacked factors of the experts that stand for a linear layer; see src/kernels/low_rank_experts.ts. */
function expertRows([field, name, letters]: Row, { experts, rank }: ExpertsConfig): Row[] {
  const [rows, columns] = letters.slice(1, -1).split(", ")
  const all = `${experts}*${rank}`
  return [
    [`${field}.u`, `${name}.u`, `[${rows}, ${all}]`],
    [`${field}.c`, `${name}.c`, `[${all}, ${rank}]`],
    [`${field}.v`, `${name}.v`, `[${all}, ${columns}]`],
    [`${field}.router`, `${name}.router`, `[${experts}, ${columns}]`],
  ]
}

function hgrnRows(config: HgrnConfig): Row[] {
  return [...HGRN_EMBEDDING, ...repeated(HGRN_LAYER, config), NORM, ...bitLinear("head", "lm_head", "[V, C]")]
}

function repeated(layer: readonly Row[], { numLayers }: ModelConfig): Row[] {
  return Array.from({ length: numLayers }, (_, i) =>
    layer.map(([field, name, ...rest]): Row => [`layers.${i}.${field}`, `layers.${i}.${name}`, ...rest]),
  ).flat()
}

/** Whether a tensor belongs to the head, whose name has no prefix of the text model. */
export function isHead({ field }: WeightSpec): boolean {
  return field === "head" || field.startsWith("head.")
}

/** `[H*D, C]` with this config's numbers. */
function shapeOf(letters: string, config: ModelConfig): number[] {
  const numbers: Record<string, number> = {
    V: config.vocabSize,
    C: config.hiddenSize,
    F: config.intermediateSize,
    L: config.numLayers,
    ...(config.modelType !== "hgrn_bit" && { H: config.numHeads, G: config.numKvHeads, D: config.headDim }),
  }
  const extents = letters.slice(1, -1).split(", ")
  const size = (factor: string) => numbers[factor] ?? Number(factor)
  return extents.map((extent) => extent.split("*").reduce((product, factor) => product * size(factor), 1))
}
