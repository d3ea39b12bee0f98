// A prompt, answered by the base and then with an adapter on, all else alike.

import { type Signal, signal } from "@preact/signals"
import { promptOf } from "../chat/prompt.ts"
import { isLost, type WorkerLanguageModel } from "../engine.ts"
import { noteLoss } from "../models/load_model.ts"
import { live, readyModel, sampling, type Trouble } from "../state/store.ts"
import { troubleOf } from "../state/trouble.ts"
import type { Adapter } from "../storage/adapter.ts"
import { newConversation, newTurn } from "../storage/conversation.ts"
import { type Named, withAdapter } from "./switch.ts"

/** Tokens of an answer where the settings do not say how many: enough to see a difference. */
const MOST_TOKENS = 160

export interface Trial {
  readonly id: string
  readonly base: Side
  readonly adapted: Side
  readonly controller: AbortController
  readonly isUnderway: Signal<boolean>
  readonly trouble: Signal<Trouble | undefined>
}

/** One of the two answers. */
export interface Side {
  readonly text: Signal<string>
  readonly tokens: Signal<number>
}

export const trial = signal<Trial | undefined>(undefined)

/** Answers a prompt twice, one after the other. */
export async function tryBeside(adapter: Adapter, prompt: string): Promise<void> {
  const lm = readyModel.value
  if (!lm || live.value || trial.value?.isUnderway.value) return
  const side = () => ({ text: signal(""), tokens: signal(0) })
  const current: Trial = {
    id: adapter.id,
    base: side(),
    adapted: side(),
    controller: new AbortController(),
    isUnderway: signal(true),
    trouble: signal(undefined),
  }
  trial.value = current
  try {
    await answerBoth(lm, adapter, prompt, current)
  } catch (error) {
    noteLoss(error)
    if (isLost(error) || !current.controller.signal.aborted) current.trouble.value = troubleOf(error)
  } finally {
    current.isUnderway.value = false
  }
}

export function stopTrial(): void {
  trial.value?.controller.abort()
}

async function answerBoth(lm: WorkerLanguageModel, adapter: Named, prompt: string, current: Trial): Promise<void> {
  const ids = await promptOf(lm, { ...newConversation(), turns: [newTurn("user", prompt)] })
  const seed = crypto.getRandomValues(new Uint32Array(1))[0]!
  const options = { seed, maxTokens: MOST_TOKENS, ...sampling.value, signal: current.controller.signal }
  const answer = async ({ text, tokens }: Side) => {
    const generation = lm.generate(ids, options)
    for await (const piece of generation) {
      text.value += piece.text
      tokens.value = generation.tokens.length
    }
  }
  await withAdapter(lm, undefined, () => answer(current.base))
  await withAdapter(lm, adapter, () => answer(current.adapted))
}
