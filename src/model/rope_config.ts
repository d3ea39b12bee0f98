import type { Keys } from "./keys.ts"

/** Rotary angles: `position * theta^(-2j/D) / factor`. */
export interface Rope {
  readonly theta: number
  readonly factor: number
}

/**
 * The rotary parameters of global and sliding layers, from either generation of keys:
 * `rope_theta`, `rope_local_base_freq` and `rope_scaling`, or `rope_parameters` (one object, or for Gemma 3 one per layer
 * type). Some files carry both; they may not contradict each other.
 *
 * @param perType Gemma 3: global and sliding layers differ, and the old scaling means the global ones alone
 */
export function ropeOf(keys: Keys, perType: boolean): { full: Rope; sliding: Rope } {
  if (keys.get("partial_rotary_factor") !== undefined && keys.get("partial_rotary_factor") !== 1) {
    throw new RangeError(keys.describe("partial_rotary_factor", "1"))
  }
  const parameters = keys.nested("rope_parameters")
  const written = keys.get("rope_theta") === undefined ? undefined : keys.positive("rope_theta")
  const scaling = keys.nested("rope_scaling")
  const old = scaling && scalingOf(scaling)
  scaling?.refuseUnread(isRopeExtra)
  if (!perType) {
    const full = merge(parameters, written, old, 10_000, "rope_theta")
    parameters?.refuseUnread(isRopeExtra)
    return { full, sliding: full }
  }
  const local = keys.get("rope_local_base_freq") === undefined ? undefined : keys.positive("rope_local_base_freq")
  const fullKeys = parameters?.nested("full_attention")
  const slidingKeys = parameters?.nested("sliding_attention")
  const full = merge(fullKeys, written, old, 1_000_000, "rope_theta")
  const sliding = merge(slidingKeys, local, undefined, 10_000, "rope_local_base_freq")
  for (const each of [parameters, fullKeys, slidingKeys]) each?.refuseUnread(isRopeExtra)
  return { full, sliding }
}

/** The new keys, completed by the old ones, completed by the default. */
function merge(
  keys: Keys | undefined,
  oldTheta: number | undefined,
  old: number | undefined,
  base: number,
  key: string,
) {
  const theta = keys?.get("rope_theta") === undefined ? undefined : keys.positive("rope_theta")
  if (keys && theta !== undefined && oldTheta !== undefined && theta !== oldTheta) {
    throw new RangeError(keys.describe("rope_theta", `${oldTheta} as in ${key}`))
  }
  const factor = keys && scalingOf(keys)
  if (keys && factor !== undefined && old !== undefined && factor !== old) {
    throw new RangeError(keys.describe("factor", `${old} as in rope_scaling`))
  }
  return { theta: theta ?? oldTheta ?? base, factor: factor ?? old ?? 1 }
}

/** The factor of one scaling object, or undefined when it names no type. */
function scalingOf(keys: Keys): number | undefined {
  const named = keys.get("rope_type") ?? keys.get("type")
  const key = keys.get("rope_type") === undefined ? "type" : "rope_type"
  const type = keys.choice(key, ["default", "linear"], "default")
  const other = keys.get("type")
  if (other !== undefined && other !== type) throw new RangeError(keys.describe("type", `${type} as in rope_type`))
  if (keys.get("partial_rotary_factor") !== undefined && keys.get("partial_rotary_factor") !== 1) {
    throw new RangeError(keys.describe("partial_rotary_factor", "1"))
  }
  if (type === "linear") return keys.positive("factor")
  const factor = keys.get("factor")
  if (factor !== undefined && factor !== 1) throw new RangeError(keys.describe("factor", 'none without type "linear"'))
  return named === undefined ? undefined : 1
}

/** Used by other rope types only. */
function isRopeExtra(key: string): boolean {
  return key === "original_max_position_embeddings"
}
