import type { Keys } from "./keys.ts"

/** What every family's config says. */
export interface CommonConfig {
  readonly vocabSize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numLayers: number
  /** The longest sequence that the model can see. */
  readonly maxPositions: number
  readonly eps: number
  readonly finalSoftcap: number | null
  readonly tiedHead: boolean
  readonly bos: number | null
  readonly eos: readonly number[]
  readonly pad: number | null
}

/** No known model comes near these; a corrupt number passes them at once. */
export const LIMITS = { vocab: 2 ** 24, width: 2 ** 20, layers: 1024, heads: 1024, positions: 2 ** 27 }

/** Rows are read four elements at a time. */
export function width(keys: Keys, key: string): number {
  const value = keys.integer(key, 4, LIMITS.width)
  if (value % 4 !== 0) throw new RangeError(keys.describe(key, "a multiple of 4 (the kernels read four at a time)"))
  return value
}

export type Tokens = Pick<CommonConfig, "bos" | "eos" | "pad">

export function parseTokens(keys: Keys, vocabSize: number, fallback: Tokens): Tokens {
  const one = (key: string, max: number, fallback: number | null): number | null => {
    if (!keys.has(key)) return fallback
    if (keys.get(key) === undefined || keys.get(key) === -1) return null // Llama configs write -1 for none
    return keys.integer(key, 0, max)
  }
  const bos = one("bos_token_id", vocabSize - 1, fallback.bos)
  const pad = one("pad_token_id", LIMITS.vocab, fallback.pad) // never fed to the model
  return { bos, pad, eos: keys.has("eos_token_id") ? idList(keys, "eos_token_id") : fallback.eos }
}

/** One id, a list of ids, or nothing. An id beyond the vocabulary is tolerated: it never comes. */
export function idList(keys: Keys, key: string): number[] {
  const value = keys.get(key)
  if (value === undefined) return []
  const ids: unknown[] = Array.isArray(value) ? value : [value]
  for (const id of ids) {
    if (typeof id !== "number") throw new TypeError(keys.describe(key, "a token id or a list of them"))
    if (!Number.isSafeInteger(id) || id < 0) throw new RangeError(keys.describe(key, "a token id or a list of them"))
  }
  return ids as number[]
}
