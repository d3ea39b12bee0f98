// The one place of the page's state. Views read it; what changes it lies beside what it is about.

import { computed, effect, type Signal, signal } from "@preact/signals"
import type {
  DownloadProgress,
  LoadProgress,
  OriginStorage,
  StoredModel,
  TuneStep,
  WorkerLanguageModel,
  WorkerLoadOptions,
  WorkerLocation,
} from "../engine.ts"
import type { Adapter, TrainingRun } from "../storage/adapter.ts"
import type { Conversation, Summary } from "../storage/conversation.ts"
import { readSetting, writeSetting } from "../storage/settings.ts"

export const VIEWS = ["chat", "models", "adapters", "look"] as const
export type View = (typeof VIEWS)[number]
export type Theme = "system" | "light" | "dark"

/** A model that was asked for, and how. */
export interface Choice {
  readonly name: string
  readonly location: WorkerLocation | Kept
  readonly options: Pick<WorkerLoadOptions, "context" | "dtype" | "cacheDtype">
}

/** A model that the browser keeps, by its id there: opened anew each time that it is loaded. */
export interface Kept {
  readonly kept: string
}

/** What the browser keeps, as it was last read. */
export type StorageState =
  | { readonly kind: "unread" }
  | { readonly kind: "read"; readonly models: readonly StoredModel[]; readonly origin: OriginStorage }
  | { readonly kind: "failed"; readonly trouble: Trouble }

/** A model on its way into the browser's storage, or why it did not get there. */
export interface Transfer {
  readonly kind: "download" | "import"
  /** While it is underway. */
  readonly controller?: AbortController
  readonly progress?: DownloadProgress
  /** Another tab is at the same model. */
  readonly waits?: boolean
  readonly trouble?: Trouble
}

/** What went wrong, for people, and what they can do. */
export interface Trouble {
  readonly kind: "no-webgpu" | "lost" | "memory" | "access" | "other"
  readonly title: string
  readonly text: string
}

export type ModelState =
  | { readonly kind: "none" }
  | { readonly kind: "loading"; readonly choice: Choice; readonly progress: LoadProgress | undefined }
  | { readonly kind: "ready"; readonly choice: Choice; readonly lm: WorkerLanguageModel }
  | { readonly kind: "failed"; readonly choice: Choice; readonly trouble: Trouble }

/** An answer that is being written. Its text changes often, so that it is a signal of its own. */
export interface LiveAnswer {
  readonly conversation: string
  readonly turn: string
  readonly text: Signal<string>
  readonly tokens: Signal<number>
  readonly promptTokens: Signal<number | undefined>
  readonly tokensPerSecond: Signal<number>
  readonly controller: AbortController
}

/** A run of training: it has the model for itself. */
export interface ActiveRun {
  /** Its adapter's. */
  readonly id: string
  readonly name: string
  /** First it is weighed, and waits for the user; `stopping` is the end of the step under way, and its save. */
  readonly phase: Signal<"weighing" | "weighed" | "training" | "stopping">
  /** Layers whose first numbers are made, while it is weighed. */
  readonly prepared: Signal<{ readonly done: number; readonly of: number } | undefined>
  readonly last: Signal<TuneStep | undefined>
  readonly curve: Signal<TrainingRun["curve"]>
  /** Ends it, with all that was learnt kept, and gives the model free. */
  readonly stop: () => Promise<void>
}

/** What the user set; undefined is the checkpoint's default. */
export interface SamplingSettings {
  readonly temperature?: number | undefined
  readonly topK?: number | undefined
  readonly topP?: number | undefined
  readonly minP?: number | undefined
  readonly repetitionPenalty?: number | undefined
  readonly seed?: number | undefined
  readonly maxTokens?: number | undefined
}

export interface AccessToken {
  /** Empty where there is none. */
  readonly text: string
  /** Whether it is to be there at the next visit. */
  readonly kept: boolean
}

export const view = signal<View>("chat")
/** What the route names in its view: a conversation, an adapter. */
export const shownId = signal<string | undefined>(undefined)
export const theme = signal<Theme>(readSetting("theme", isTheme) ?? "system")
export const sampling = signal<SamplingSettings>(readSetting("sampling", isSampling) ?? {})

/** What opens gated models of the Hub. */
export const accessToken = signal<AccessToken>(keptToken())
/** Whether the browser says that there is no network. */
export const offline = signal(false)

export const summaries = signal<readonly Summary[]>([])
/** The one that is open; a new one is not in the list before it has a turn. */
export const conversation = signal<Conversation | undefined>(undefined)
export const live = signal<LiveAnswer | undefined>(undefined)

/** Those that the page keeps, the latest first, as they were last read. Undefined before they are read at all. */
export const adapters = signal<readonly Adapter[] | undefined>(undefined)

/** The run that this page has underway. */
export const activeRun = signal<ActiveRun | undefined>(undefined)

export const model = signal<ModelState>({ kind: "none" })
export const storage = signal<StorageState>({ kind: "unread" })
/** By the model's id, of files that are picked by what they are called until they have one. */
export const transfers = signal<ReadonlyMap<string, Transfer>>(new Map())
/** Positions that the last answer and its prompt took. */
export const positions = signal<number | undefined>(undefined)

/** Something to tell that is not of one conversation; an alert stays until it is closed. */
export const notice = signal<{ readonly text: string; readonly alert: boolean } | undefined>(undefined)

export const readyModel = computed(() => (model.value.kind === "ready" ? model.value.lm : undefined))
/** Whether the open conversation is the one that is being answered. */
export const answeringHere = computed(
  () => live.value !== undefined && live.value.conversation === conversation.value?.id,
)

effect(() => writeSetting("theme", theme.value))
effect(() => writeSetting("sampling", sampling.value))
effect(() => {
  const { text, kept } = accessToken.value
  writeSetting("token", kept && text !== "" ? text : undefined)
})

function keptToken(): AccessToken {
  const text = readSetting("token", (value) => typeof value === "string")
  return { text: text ?? "", kept: text !== undefined }
}

function isTheme(value: unknown): value is Theme {
  return value === "system" || value === "light" || value === "dark"
}

function isSampling(value: unknown): value is SamplingSettings {
  return typeof value === "object" && value !== null && Object.values(value).every((each) => typeof each === "number")
}
