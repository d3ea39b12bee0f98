// What is looked at, and what was found.

import { computed, signal } from "@preact/signals"
import { type Named, withAdapter } from "../adapters/switch.ts"
import { promptOf } from "../chat/prompt.ts"
import type { Predictions, WorkerLanguageModel } from "../engine.ts"
import { noteLoss } from "../models/load_model.ts"
import { model, type Trouble } from "../state/store.ts"
import { troubleOf } from "../state/trouble.ts"
import type { Conversation } from "../storage/conversation.ts"
import { namesOf } from "./pieces.ts"

/** Likeliest tokens that are named. */
const TOP = 10

export type Subject =
  | { readonly kind: "text"; readonly text: string; readonly adapter: Named | undefined }
  | { readonly kind: "conversation"; readonly conversation: Conversation }

/** What was found of a text of T tokens. */
export interface Look {
  readonly lm: WorkerLanguageModel
  /** What the model is called, and what was on while it was looked at. */
  readonly model: string
  readonly adapter: Named | undefined
  readonly predictions: Predictions
  /** What tokens are called, all that occur. */
  readonly names: ReadonlyMap<number, string>
  /** Of the text in UTF-8; undefined for a conversation, which is more than its text. */
  readonly bytes: number | undefined
}

export type LookState =
  | { readonly kind: "none" | "working" }
  /** More tokens than the model's context holds: the user decides. */
  | { readonly kind: "long"; readonly subject: Subject; readonly ids: readonly number[]; readonly context: number }
  | { readonly kind: "done"; readonly look: Look }
  | { readonly kind: "failed"; readonly trouble: Trouble }

export const look = signal<LookState>({ kind: "none" })
/** What is typed or pasted. */
export const text = signal("")
/** The token that was chosen, from 0; T is what comes after the last one. */
export const chosen = signal(0)
/** The one under the pointer. */
export const pointed = signal<number | undefined>(undefined)
export const shown = computed(() => pointed.value ?? chosen.value)

/** Looks at a text or a conversation; of one that is too long only if that was agreed to. */
export async function lookAt(subject: Subject, lm: WorkerLanguageModel, cut?: readonly number[]): Promise<void> {
  const name = model.value.kind === "ready" ? model.value.choice.name : lm.name
  look.value = { kind: "working" }
  try {
    const ids = cut ?? (await idsOf(subject, lm))
    if (ids.length > lm.context) {
      look.value = { kind: "long", subject, ids, context: lm.context }
      return
    }
    const adapter = subject.kind === "text" ? subject.adapter : subject.conversation.adapter
    const predictions = await withAdapter(lm, adapter, () => lm.predictions(ids, { top: topOf(lm) }))
    const names = await namesOf(lm, [...ids, ...predictions.ids])
    const bytes = subject.kind === "text" ? await bytesOf(lm, ids) : undefined
    chosen.value = Math.min(1, ids.length)
    pointed.value = undefined
    look.value = { kind: "done", look: { lm, model: name, adapter, predictions, names, bytes } }
  } catch (error) {
    look.value = { kind: "failed", trouble: troubleHere(error) }
  }
}

/** In words; and the model is known to be gone if it is. */
export function troubleHere(error: unknown): Trouble {
  noteLoss(error)
  return troubleOf(error)
}

function topOf(lm: WorkerLanguageModel): number {
  return Math.min(TOP, lm.config.vocabSize)
}

function idsOf(subject: Subject, lm: WorkerLanguageModel): Promise<number[]> {
  return subject.kind === "text" ? lm.encode(subject.text) : promptOf(lm, subject.conversation)
}

async function bytesOf(lm: WorkerLanguageModel, ids: readonly number[]): Promise<number | undefined> {
  const text = await lm.tokenizer?.decode(ids)
  return text === undefined ? undefined : new TextEncoder().encode(text).length
}
