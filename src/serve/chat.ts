import type { GenerationOptions } from "../api.ts"
import type { AnswerEvent } from "./answers.ts"
import type { Ask } from "./engine.ts"
import { badField } from "./errors.ts"
import { type Answer, type Exchange, head, type Served, type TokenLogprobs } from "./exchange.ts"
import { type Body, booleanField, wholeField } from "./fields.ts"
import { chatLogprobs } from "./logprobs.ts"
import { encodeMessages } from "./messages.ts"
import { asksOf, readSettings } from "./settings.ts"
import type { Tally } from "./tally.ts"

const MOST_TOP_LOGPROBS = 20

/**
 * Reads a request of POST /v1/chat/completions.
 *
 * @throws {ApiError} naming the field that is not as it must be
 */
export function readChat(served: Served, body: Body): Exchange {
  const { lm, models } = served
  const settings = readSettings(body)
  const { id, adapters } = models.choose(body)
  const options: GenerationOptions = {
    ...settings.options,
    maxTokens: wholeField(body, "max_completion_tokens", 1) ?? wholeField(body, "max_tokens", 1),
    logprobs: readLogprobs(body),
  }
  const asks = asksOf(lm, [encodeMessages(served, body)], { ...settings, options }, adapters, "messages")
  return new Chat(served, id, asks, settings)
}

function readLogprobs(body: Body): number | undefined {
  const wanted = booleanField(body, "logprobs") ?? false
  const top = wholeField(body, "top_logprobs", 0, MOST_TOP_LOGPROBS)
  if (wanted) return top ?? 0
  if (top) throw badField("top_logprobs", `value is ${top} without logprobs, expected logprobs to be true`)
  return undefined
}

class Chat implements Exchange {
  readonly asks: readonly Ask[]
  readonly stream: boolean
  readonly #served: Served
  readonly #id: string
  readonly #includeUsage: boolean

  constructor(
    served: Served,
    id: string,
    asks: readonly Ask[],
    { stream, includeUsage }: { stream: boolean; includeUsage: boolean },
  ) {
    this.asks = asks
    this.stream = stream
    this.#served = served
    this.#id = id
    this.#includeUsage = includeUsage
  }

  async *chunks(events: AsyncIterable<AnswerEvent>, tally: Tally): AsyncGenerator<object, void, void> {
    const common = head("chatcmpl", "chat.completion.chunk", this.#id, this.#served)
    const usage = this.#includeUsage ? { usage: null } : {}
    const begun = new Set<number>()
    for await (const event of events) {
      if (!begun.has(event.index)) yield { ...common, choices: [beginning(event.index)], ...usage }
      begun.add(event.index)
      const choice = this.#choice(event)
      if (choice) yield { ...common, choices: [choice], ...usage }
    }
    if (this.#includeUsage) yield { ...common, choices: [], usage: tally.usage }
  }

  whole(answers: readonly Answer[], tally: Tally): object {
    const choices = answers.map(({ text, logprobs, finishReason }, index) => {
      const message = { role: "assistant", content: text, refusal: null }
      return { index, message, logprobs: this.#logprobs(logprobs), finish_reason: finishReason }
    })
    return { ...head("chatcmpl", "chat.completion", this.#id, this.#served), choices, usage: tally.usage }
  }

  /** A piece or an end as a stream tells it; nothing for tokens that complete no character. */
  #choice(event: AnswerEvent): object | undefined {
    const { index } = event
    if ("ending" in event) return { index, delta: {}, logprobs: null, finish_reason: event.ending.finishReason }
    const { text, logprobs = [] } = event.piece
    if (text === "" && logprobs.length === 0) return undefined
    return { index, delta: { content: text }, logprobs: this.#logprobs(logprobs), finish_reason: null }
  }

  #logprobs(entries: TokenLogprobs): object | null {
    if (this.asks[0]!.options.logprobs === undefined) return null
    return chatLogprobs(this.#served.lm.tokenizer!, entries)
  }
}

function beginning(index: number): object {
  return { index, delta: { role: "assistant", content: "", refusal: null }, logprobs: null, finish_reason: null }
}
