import { type CommonConfig, LIMITS, parseTokens } from "./config_keys.ts"
import type { Keys } from "./keys.ts"

/** A MatMul-free language model (Zhu et al., arXiv:2406.02528): ternary weights, and a recurrence in place of attention. */
export interface HgrnConfig extends CommonConfig {
  readonly modelType: "hgrn_bit"
  /**
   * Under the root in the norm inside a ternary layer. The published code declares 1e-8, but what runs, and what the
   * checkpoints were trained with, is the fused kernel's 1e-6.
   */
  readonly bitEps: number
}

/** How the reference code computes its losses. */
const TRAINING = ["fuse_cross_entropy", "fuse_norm", "fuse_swiglu"]
/** A word holds 16 ternary weights. */
const TRITS = 16

/** Reads the keys of an HGRN-Bit model. What the other variants of its code can do and no checkpoint does is refused. */
export function parseHgrn(keys: Keys): HgrnConfig {
  const vocabSize = keys.integer("vocab_size", 1, LIMITS.vocab, 32000)
  const hiddenSize = wholeWords(keys, "hidden_size", 2048)
  keys.integer("num_heads", 1, LIMITS.heads, 1) // reshapes and changes nothing
  keys.choice("hidden_act", ["swish", "silu"], "swish")
  keys.choice("attn_mode", ["fused_recurrent", "recurrent", "chunk"], "fused_recurrent") // ways to compute the same
  for (const key of ["max_position_embeddings", "conv_size", "share_conv_kernel", ...TRAINING]) keys.get(key)
  only(keys, "use_lower_bound", true)
  only(keys, "use_short_conv", false)
  only(keys, "tie_word_embeddings", false)
  const expand = keys.positive("expand_ratio", 1)
  if (expand !== 1) throw new RangeError(keys.describe("expand_ratio", "1"))
  return {
    modelType: "hgrn_bit",
    vocabSize,
    hiddenSize,
    intermediateSize: intermediate(keys, hiddenSize),
    numLayers: keys.integer("num_hidden_layers", 1, LIMITS.layers, 24),
    // A recurrence has no positions: max_position_embeddings is the length of the texts that it was trained on.
    maxPositions: LIMITS.positions,
    eps: keys.positive("rms_norm_eps", 1e-6),
    bitEps: 1e-6,
    finalSoftcap: null,
    tiedHead: false,
    ...parseTokens(keys, vocabSize, { bos: 1, eos: [2], pad: null }),
  }
}

/** `256 ceil(floor(2/3 C hidden_ratio) / 256)` where the config leaves it open. */
function intermediate(keys: Keys, hiddenSize: number): number {
  const ratio = keys.positive("hidden_ratio", 4)
  if (keys.get("intermediate_size") !== undefined) return wholeWords(keys, "intermediate_size")
  return 256 * Math.ceil(Math.floor((hiddenSize * ratio * 2) / 3) / 256)
}

function wholeWords(keys: Keys, key: string, fallback?: number): number {
  const value = keys.integer(key, TRITS, LIMITS.width, fallback)
  if (value % TRITS !== 0)
    throw new RangeError(keys.describe(key, `a multiple of ${TRITS} (a word holds as many weights)`))
  return value
}

function only(keys: Keys, key: string, value: boolean): void {
  if (keys.flag(key, value) !== value)
    throw new RangeError(keys.describe(key, `${value} (the published models' flavour)`))
}
