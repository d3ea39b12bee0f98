import { computed, signal } from "@preact/signals"
import { readyModel } from "../state/store.ts"
import type { RunOptions } from "../storage/adapter.ts"
import type { ExampleText } from "./examples.ts"

/** What was typed and picked for a run. An empty number is undefined. */
export interface Form {
  readonly name: string
  readonly pasted: string
  /** In the place of what is pasted, where there are any. */
  readonly files: readonly ExampleText[]
  readonly numbers: Readonly<Partial<Record<NumberKey, number>>>
  readonly method: RunOptions["method"]
  readonly recompute: boolean
}

export type NumberKey = "rank" | "steps" | "batch" | "context" | "rate" | "seed"

export interface NumberSetting {
  readonly key: NumberKey
  readonly label: string
  readonly hint: string
  readonly min: number
  readonly max: number
  readonly step: number | "any"
}

const MOST = 1_000_000

/** It stays while other views are looked at, and when a run cannot be. */
export const form = signal<Form>({
  name: "",
  pasted: "",
  files: [],
  numbers: { rank: 8, steps: 100, batch: 4, context: 256, seed: 0 },
  method: "lora",
  recompute: false,
})

export const texts = computed((): readonly ExampleText[] => {
  const { files, pasted } = form.value
  return files.length > 0 ? files : [{ name: "examples", text: pasted }]
})

export function numberSettings(): readonly NumberSetting[] {
  const longest = readyModel.value?.config.maxPositions ?? MOST
  return [
    { key: "rank", label: "Rank", hint: "how much it can learn", min: 1, max: 1024, step: 1 },
    { key: "steps", label: "Steps", hint: "updates in all", min: 1, max: MOST, step: 1 },
    { key: "batch", label: "Rows a step", hint: "more are steadier, and slower", min: 1, max: 1024, step: 1 },
    { key: "context", label: "Tokens a row", hint: "longer examples come in pieces", min: 2, max: longest, step: 1 },
    { key: "rate", label: "Learning rate", hint: "empty: what suits the method", min: 1e-9, max: 10, step: "any" },
    { key: "seed", label: "Seed", hint: "the same seed, the same run", min: 0, max: 2 ** 32 - 1, step: 1 },
  ]
}

/** The options of the form, whose numbers the browser has checked. */
export function optionsOf({ method, recompute, numbers }: Form): RunOptions {
  const { rank = 8, steps = 100, batch = 4, context = 256, rate, seed = 0 } = numbers
  return { method, rank, steps, batch, context, rate, seed, recompute }
}
