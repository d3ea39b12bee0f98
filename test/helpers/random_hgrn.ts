import type { Folder } from "../../src/model/source.ts"
import { randomFolder } from "./random_folder.ts"

/** config.json of MMfreeLM-370M (Zhu et al., arXiv:2406.02528), less what says nothing of its shape. */
const MMFREE_370M = {
  architectures: ["HGRNBitForCausalLM"],
  model_type: "hgrn_bit",
  vocab_size: 32000,
  hidden_size: 1024,
  num_hidden_layers: 24,
  num_heads: 1,
  expand_ratio: 1,
  hidden_ratio: 4,
  intermediate_size: null,
  hidden_act: "swish",
  use_lower_bound: true,
  rms_norm_eps: 1e-6,
  max_position_embeddings: 2048,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
}

/** A MatMul-free model with random weights, of MMfreeLM-370M's shape (748 MB in bf16). */
export function randomHgrn(): Promise<Folder> {
  return randomFolder("MMfreeLM-370M's shape", MMFREE_370M)
}
