/** The architectures that are read, as `general.architecture` spells them. */
export const ARCHITECTURES = ["gemma", "gemma2", "gemma3", "llama"] as const
export type Architecture = (typeof ARCHITECTURES)[number]

/** llama.cpp's names (gguf-py, `tensor_mapping.py`) and those of the checkpoint, both without `.weight`. */
const WHOLE: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
}
const LAYER: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
}
/** Of the two norms of a plain layer, the second has the name that is an output norm's in a layer of four. */
const PLAIN: Readonly<Record<string, string>> = { ffn_norm: "post_attention_layernorm" }
const SANDWICH: Readonly<Record<string, string>> = {
  post_attention_norm: "post_attention_layernorm",
  ffn_norm: "pre_feedforward_layernorm",
  post_ffw_norm: "post_feedforward_layernorm",
}

/** The checkpoint's name of a tensor, or undefined for one that no model of the architecture has. */
export function checkpointName(name: string, architecture: Architecture): string | undefined {
  const [, layer, module = ""] = /^(?:blk\.(\d{1,4})\.)?([a-z_]+)\.weight$/.exec(name) ?? []
  const norms = architecture === "gemma2" || architecture === "gemma3" ? SANDWICH : PLAIN
  const found = layer === undefined ? own(WHOLE, module) : (own(LAYER, module) ?? own(norms, module))
  if (found === undefined) return undefined
  return layer === undefined ? `${found}.weight` : `model.layers.${Number(layer)}.${found}.weight`
}

function own(names: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(names, key) ? names[key] : undefined
}
