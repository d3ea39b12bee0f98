import type { GenerationOptions } from "../api.ts"
import type { AnswerEvent } from "./answers.ts"
import type { Ask } from "./engine.ts"
import { badField, checking } from "./errors.ts"
import { type Answer, type Exchange, head, type Served, type TokenLogprobs } from "./exchange.ts"
import { type Body, booleanField, field, show, wholeField } from "./fields.ts"
import { completionLogprobs, tokenText } from "./logprobs.ts"
import { expectFew } from "./prompts.ts"
import { asksOf, readSettings, type Settings } from "./settings.ts"
import type { Tally } from "./tally.ts"

/** As OpenAI's API has it. */
const DEFAULT_MAX_TOKENS = 16
const MOST_LOGPROBS = 20

/**
 * Reads a request of POST /v1/completions.
 *
 * @throws {ApiError} naming the field that is not as it must be
 */
export function readCompletions(served: Served, body: Body): Exchange {
  const { lm, models } = served
  const settings = readSettings(body)
  const { id, adapters } = models.choose(body)
  const options: GenerationOptions = {
    ...settings.options,
    maxTokens: wholeField(body, "max_tokens", 1) ?? DEFAULT_MAX_TOKENS,
    logprobs: wholeField(body, "logprobs", 0, MOST_LOGPROBS),
  }
  const echo = booleanField(body, "echo") ?? false
  if (echo && options.logprobs !== undefined) {
    throw badField("echo", "value is true beside logprobs, expected one of them (those of a prompt are not told)")
  }
  const bestOf = wholeField(body, "best_of", 1)
  if (bestOf !== undefined && bestOf !== settings.n) {
    throw badField("best_of", `value is ${bestOf}, expected ${settings.n} as n`, "unsupported_parameter")
  }
  const given = readPrompts(body)
  expectFew("prompt", given.length, settings.n)
  const prompts = given.map((each) => encodePrompt(served, each))
  const ids = prompts.map((each) => each.ids)
  const asks = asksOf(lm, ids, { ...settings, options }, adapters, "prompt")
  return new Completions(served, id, asks, settings, echo ? prompts.map(({ text }) => text) : [])
}

interface Prompt {
  readonly ids: readonly number[]
  readonly text: string
}

/** A text, token ids, or an array of several of one kind. */
function readPrompts(body: Body): readonly string[] | readonly number[][] {
  const value = field(body, "prompt")
  if (typeof value === "string") return [value]
  if (Array.isArray(value) && value.length > 0) {
    if (value.every((each) => typeof each === "string")) return value
    if (isIds(value)) return [value]
    if (value.every(isIds)) return value
  }
  throw badField("prompt", `value is ${show(value)}, expected a text, token ids, or an array of texts or of token ids`)
}

function isIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every((id) => typeof id === "number")
}

function encodePrompt({ lm, limits }: Served, prompt: string | readonly number[]): Prompt {
  if (typeof prompt === "string") limits.expectShort("prompt", prompt.length)
  const ids = checking("prompt", () => lm.encode(prompt))
  return { ids, text: typeof prompt === "string" ? prompt : lm.tokenizer!.decode(ids) }
}

class Completions implements Exchange {
  readonly asks: readonly Ask[]
  readonly stream: boolean
  readonly #served: Served
  readonly #id: string
  readonly #settings: Settings
  readonly #echoed: readonly string[]

  /** @param echoed the prompts' texts if answers begin with them */
  constructor(served: Served, id: string, asks: readonly Ask[], settings: Settings, echoed: readonly string[]) {
    this.asks = asks
    this.stream = settings.stream
    this.#served = served
    this.#id = id
    this.#settings = settings
    this.#echoed = echoed
  }

  async *chunks(events: AsyncIterable<AnswerEvent>, tally: Tally): AsyncGenerator<object, void, void> {
    const common = head("cmpl", "text_completion", this.#id, this.#served)
    const { includeUsage } = this.#settings
    const usage = includeUsage ? { usage: null } : {}
    const lengths: number[] = []
    const chunk = (index: number, text: string, logprobs: TokenLogprobs, finish: string | null) => {
      const choice = { index, text, logprobs: this.#logprobs(logprobs, lengths[index]!), finish_reason: finish }
      lengths[index]! += this.#length(logprobs)
      return { ...common, choices: [choice], ...usage }
    }
    for await (const event of events) {
      const { index } = event
      if (lengths[index] === undefined) {
        lengths[index] = 0
        const echoed = this.#echo(index)
        if (echoed !== "") yield chunk(index, echoed, [], null)
      }
      if ("ending" in event) {
        yield chunk(index, "", [], event.ending.finishReason)
        continue
      }
      const { text, logprobs = [] } = event.piece
      if (text !== "" || logprobs.length > 0) yield chunk(index, text, logprobs, null)
    }
    if (includeUsage) yield { ...common, choices: [], usage: tally.usage }
  }

  whole(answers: readonly Answer[], tally: Tally): object {
    const choices = answers.map(({ text, logprobs, finishReason }, index) => {
      const all = this.#echo(index) + text
      return { index, text: all, logprobs: this.#logprobs(logprobs, 0), finish_reason: finishReason }
    })
    return { ...head("cmpl", "text_completion", this.#id, this.#served), choices, usage: tally.usage }
  }

  #echo(index: number): string {
    return this.#echoed[Math.floor(index / this.#settings.n)] ?? ""
  }

  #logprobs(entries: TokenLogprobs, offset: number): object | null {
    if (this.asks[0]!.options.logprobs === undefined) return null
    return completionLogprobs(this.#served.lm.tokenizer!, entries, offset)
  }

  /** Of the tokens' own texts, which is what offsets count. */
  #length(entries: TokenLogprobs): number {
    const { lm } = this.#served
    return entries.reduce((sum, { token }) => sum + tokenText(lm.tokenizer!, token).token.length, 0)
  }
}
