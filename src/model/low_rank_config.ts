import type { ExpertOptions } from "../kernels/expert_mix.ts"
import { type Keys, show } from "./keys.ts"

/** How a new model's layers begin that are to be low-rank. A checkpoint's own layers tell by their tensors. */
export interface LowRankConfig {
  /** Names of linear layers: `gate_proj`. */
  readonly modules: readonly string[]
  /** A multiple of 4, or a share of a layer's smaller side below 1. */
  readonly rank: number
  /**
   * `spectral`: from the leading singular triples of a dense layer's beginning (Khodak et al., arXiv:2105.01029). `function`
   * goes on from there until the layer's outputs behind the activation are as near as can be (arXiv:2202.00834); layers that
   * have no activation behind them begin spectrally.
   */
  readonly init: LowRankInit
}

export const LOW_RANK_INITS = ["spectral", "function"] as const
export type LowRankInit = (typeof LOW_RANK_INITS)[number]

/** Gated mixtures of low-rank experts in place of some linear layers (Wang et al., arXiv:2008.13535). */
export interface ExpertsConfig extends ExpertOptions {
  readonly modules: readonly string[]
  readonly rank: number
}

const MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
const MOST_RANK = 2 ** 16
const MOST_EXPERTS = 64

/** The key `low_rank`, which is ours. */
export function parseLowRank(keys: Keys): LowRankConfig | null {
  const own = keys.nested("low_rank")
  if (!own) return null
  const config = { modules: modules(own), rank: rank(own), init: own.choice("init", LOW_RANK_INITS, "spectral") }
  own.refuseUnread(() => false)
  return config
}

/** The key `low_rank_experts`, which is ours. */
export function parseExperts(keys: Keys): ExpertsConfig | null {
  const own = keys.nested("low_rank_experts")
  if (!own) return null
  const config = {
    modules: modules(own),
    experts: own.integer("experts", 1, MOST_EXPERTS),
    rank: own.integer("rank", 4, MOST_RANK),
    gate: own.choice("gate", ["softmax", "sigmoid"], "softmax"),
    activation: own.choice("activation", ["tanh", "identity"], "tanh"),
  } as const
  if (config.rank % 4 !== 0) throw new RangeError(own.describe("rank", "a multiple of 4"))
  own.refuseUnread(() => false)
  return config
}

/** The rank of a layer of this shape, a multiple of 4. */
export function rankOf({ rank }: LowRankConfig, shape: readonly number[]): number {
  return rank < 1 ? Math.max(4, 4 * Math.round((rank * Math.min(...shape)) / 4)) : rank
}

function modules(keys: Keys): string[] {
  const value = keys.get("modules")
  if (!Array.isArray(value) || value.length === 0)
    throw new TypeError(keys.describe("modules", "a list of layers' names"))
  for (const name of value) {
    if (MODULES.includes(name)) continue
    throw new RangeError(`${keys.file}: ${keys.path}modules has ${show(name)}, expected some of ${MODULES.join(", ")}`)
  }
  return value as string[]
}

function rank(keys: Keys): number {
  const value = keys.positive("rank")
  if (value < 1 || (value % 4 === 0 && value <= MOST_RANK)) return value
  throw new RangeError(keys.describe("rank", "a share below 1 or a multiple of 4"))
}
