// The attention of one head, as it is asked for.

import { signal } from "@preact/signals"
import { withAdapter } from "../adapters/switch.ts"
import type { AttentionHead, WorkerLanguageModel } from "../engine.ts"
import type { Trouble } from "../state/store.ts"
import { type Look, look, troubleHere } from "./look.ts"

/** Weights of one head over T tokens. */
export interface Attention {
  readonly which: AttentionHead
  /** Of what text. */
  readonly tokens: readonly number[]
  readonly T: number
  /** `[T, T]`, a row for each query. */
  readonly weights: Float32Array
}

export type AttentionState =
  | { readonly kind: "none" | "working" }
  | { readonly kind: "done"; readonly attention: Attention }
  | { readonly kind: "failed"; readonly trouble: Trouble }

export const attention = signal<AttentionState>({ kind: "none" })
export const head = signal<AttentionHead>({ layer: 0, head: 0 })

/** What a layer is. */
export interface LayerKind {
  /** How many tokens a query sees, itself included; null for all before it. */
  readonly window: number | null
}

/** The layers of a model with attention; none of one without. */
export function layersOf({ config }: WorkerLanguageModel): readonly LayerKind[] {
  return config.modelType === "hgrn_bit" ? [] : config.layers
}

export function headsOf({ config }: WorkerLanguageModel): number {
  return config.modelType === "hgrn_bit" ? 0 : config.numHeads
}

/** Asks for a head's weights. Of several questions the last one is answered. */
export async function ask({ lm, adapter, predictions }: Look, which: AttentionHead): Promise<void> {
  attention.value = { kind: "working" }
  const { tokens } = predictions
  const isWanted = () =>
    head.value === which && look.value.kind === "done" && look.value.look.predictions === predictions
  try {
    const { data } = await withAdapter(lm, adapter, async () => (isWanted() ? lm.attention(tokens, which) : NOTHING))
    if (isWanted()) attention.value = { kind: "done", attention: { which, tokens, T: tokens.length, weights: data } }
  } catch (error) {
    if (isWanted()) attention.value = { kind: "failed", trouble: troubleHere(error) }
  }
}

const NOTHING = { data: new Float32Array(0) }

/** How much a query takes of each key. */
export function rowOf({ weights, T }: Attention, query: number): Float32Array {
  return weights.subarray(query * T, (query + 1) * T)
}

/** Weights drawn in as many cells as can be seen: of each cell the largest of those in it. */
export function pooled({ weights, T }: Attention, cells: number): Float32Array {
  const largest = new Float32Array(cells * cells)
  for (let query = 0; query < T; query++) {
    const row = Math.floor((query * cells) / T) * cells
    for (let key = 0; key <= query; key++) {
      const cell = row + Math.floor((key * cells) / T)
      largest[cell] = Math.max(largest[cell]!, weights[query * T + key]!)
    }
  }
  return largest
}
