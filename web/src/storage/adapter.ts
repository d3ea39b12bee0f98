import type { TuneSettings, TuneStep } from "../engine.ts"
import type { Choice } from "../state/store.ts"

/** A model as an adapter knows it: to be loaded again by the same choice, or by hand where that was of picked files. */
export interface Base {
  readonly name: string
  /** Kept by the browser under this id, or the page's own; undefined for files that were picked. */
  readonly kept: string | "storyteller" | undefined
}

/** An adapter that the page keeps: a PEFT folder of the origin's private file system, `adapterFolder` of its id. */
export interface Adapter {
  readonly id: string
  readonly name: string
  readonly base: Base
  /** Milliseconds since 1970. */
  readonly created: number
  readonly updated: number
  /** Of its files; undefined before the first save of a run. */
  readonly bytes: number | undefined
  /** How it is made here; undefined for one that was brought. */
  readonly run: TrainingRun | undefined
  /** What the config of one that was brought says; missing for one that is made here. */
  readonly brought?: { readonly kind: string; readonly rank: number } | undefined
}

/** What the user asked for; missing is the engine's default. */
export interface RunOptions {
  readonly method: "lora" | "lamda"
  readonly rank: number
  readonly steps: number
  readonly batch: number
  readonly context: number
  readonly rate: number | undefined
  readonly seed: number
  readonly recompute: boolean
}

/** `underway` in a page that was closed is a run to go on from its last save. */
export type RunStatus = "underway" | "paused" | "done" | "failed"

export interface TrainingRun {
  readonly options: RunOptions
  /** How the base was loaded: other weights would make another run of it. */
  readonly loaded: Choice["options"]
  readonly settings: TuneSettings | undefined
  readonly records: number
  readonly status: RunStatus
  /** Updates that are saved. */
  readonly step: number
  /** Every step's loss and the measurements up to the last save. */
  readonly curve: readonly Pick<TuneStep, "step" | "loss" | "heldOut">[]
  /** Why it failed, in words. */
  readonly trouble: string | undefined
}

/** The name of its folder, for the engine's stores. */
export function adapterFolder(id: string): string {
  return `gemlet/adapters/${id}`
}
