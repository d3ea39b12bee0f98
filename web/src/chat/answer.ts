import { signal } from "@preact/signals"
import { withAdapter } from "../adapters/switch.ts"
import { isLost, type WorkerLanguageModel } from "../engine.ts"
import { noteLoss } from "../models/load_model.ts"
import {
  activeRun,
  conversation,
  type LiveAnswer,
  live,
  model,
  positions,
  readyModel,
  sampling,
} from "../state/store.ts"
import { troubleOf } from "../state/trouble.ts"
import {
  type AnswerFacts,
  type Conversation,
  type Ending,
  newTurn,
  type Turn,
  withTurn,
  withTurns,
} from "../storage/conversation.ts"
import { readConversation } from "../storage/database.ts"
import { adapterName } from "./adapter_of.ts"
import { keep } from "./conversations.ts"
import { promptOf, upTo } from "./prompt.ts"

/** Milliseconds between writes of an unfinished answer: what a crash loses at most. */
const KEEP_EVERY = 1000

/** Says something in the open conversation and lets the model answer. */
export async function send(text: string): Promise<void> {
  const { value } = conversation
  if (value) await answer(withTurns(value, [...value.turns, newTurn("user", text)]))
}

/** Answers anew what an answer answers. */
export async function regenerate(id: string): Promise<void> {
  const { value } = conversation
  if (value) await answer(withTurns(value, upTo(value.turns, id, false)))
}

/** Says something else in a turn's place. What came after it goes. */
export async function edit(id: string, text: string): Promise<void> {
  const { value } = conversation
  if (value) await answer(withTurns(value, [...upTo(value.turns, id, false), newTurn("user", text)]))
}

export function stop(): void {
  live.value?.controller.abort()
}

/** One at a time: the page has one model, and people read one answer. */
async function answer(asked: Conversation): Promise<void> {
  const lm = readyModel.value
  if (!lm || live.value || activeRun.value) return
  const turn = newTurn("assistant", "")
  const current: LiveAnswer = {
    conversation: asked.id,
    turn: turn.id,
    text: signal(""),
    tokens: signal(0),
    promptTokens: signal(undefined),
    tokensPerSecond: signal(0),
    controller: new AbortController(),
  }
  live.value = current
  const begun = withTurns(asked, [...asked.turns, turn])
  await keep(begun)
  const facts = await run(lm, asked, begun, current)
  const done: Turn = { ...turn, text: current.text.value, facts }
  await keep(withTurn(await latest(begun), done))
  live.value = undefined
}

/** What the user changed meanwhile, such as the title, stays. */
async function latest(begun: Conversation): Promise<Conversation> {
  const { value } = conversation
  if (value?.id === begun.id) return value
  return (await readConversation(begun.id).catch(() => undefined)) ?? begun
}

async function run(
  lm: WorkerLanguageModel,
  asked: Conversation,
  begun: Conversation,
  current: LiveAnswer,
): Promise<AnswerFacts> {
  // By the name that it was chosen by: the page can load it again by that.
  const name = model.value.kind === "ready" ? model.value.choice.name : lm.name
  const counts = { tokens: 0, tokensPerSecond: 0, promptTokens: 0, reusedTokens: 0, seed: undefined }
  const facts = { model: name, adapter: adapterName(asked), ...counts }
  const { signal: aborted } = current.controller
  let generation: ReturnType<WorkerLanguageModel["generate"]> | undefined
  const measured = () => ({
    ...facts,
    tokens: generation?.tokens.length ?? 0,
    tokensPerSecond: generation?.timings?.decodeTokensPerSecond ?? 0,
    promptTokens: generation?.prompt?.length ?? 0,
    reusedTokens: generation?.timings?.reusedTokens ?? 0,
    seed: generation?.sampling?.seed,
  })
  const keeper = new Keeper(begun, current)
  try {
    const prompt = await promptOf(lm, asked)
    current.promptTokens.value = prompt.length
    const ending = await withAdapter(lm, asked.adapter, async () => {
      generation = lm.generate(prompt, { ...sampling.value, signal: aborted })
      for await (const { text } of generation) {
        current.text.value += text
        current.tokens.value = generation.tokens.length
        current.tokensPerSecond.value = generation.timings?.decodeTokensPerSecond ?? 0
        positions.value = prompt.length + generation.tokens.length
        keeper.keep()
      }
      return generation.finishReason as Ending
    })
    return { ...measured(), ending }
  } catch (error) {
    if (aborted.aborted && !isLost(error)) return { ...measured(), ending: "stopped" }
    noteLoss(error)
    const { title, text } = troubleOf(error)
    return { ...measured(), ending: "failed", trouble: `${title}. ${text}` }
  } finally {
    await keeper.done
  }
}

/** Writes the unfinished answer to the database now and then. */
class Keeper {
  /** The write underway. */
  done: Promise<void> = Promise.resolve()
  readonly #begun: Conversation
  readonly #live: LiveAnswer
  #last = performance.now()

  constructor(begun: Conversation, current: LiveAnswer) {
    this.#begun = begun
    this.#live = current
  }

  keep(): void {
    const now = performance.now()
    if (now - this.#last < KEEP_EVERY) return
    this.#last = now
    this.done = this.#write()
  }

  async #write(): Promise<void> {
    const base = await latest(this.#begun)
    const turn = base.turns.find(({ id }) => id === this.#live.turn)
    if (turn) await keep(withTurn(base, { ...turn, text: this.#live.text.value }))
  }
}
