import type { AnswerEvent } from "./answers.ts"
import type { Ask, Ending } from "./engine.ts"

/** Counts of a request, over all its answers. A prompt with several answers counts once. */
export class Tally {
  readonly promptTokens: number
  cachedTokens = 0
  tokens = 0
  /** The first answer of each prompt: the others find in the cache what it has left there. */
  readonly #firsts: ReadonlySet<number>

  constructor(asks: readonly Ask[]) {
    const firsts = new Map<Ask["prompt"], number>()
    for (const [index, { prompt }] of asks.entries()) if (!firsts.has(prompt)) firsts.set(prompt, index)
    this.#firsts = new Set(firsts.values())
    this.promptTokens = [...firsts.keys()].reduce((sum, { length }) => sum + length, 0)
  }

  /** The same events, counted as they pass. */
  async *counted(events: AsyncIterable<AnswerEvent>): AsyncGenerator<AnswerEvent, void, void> {
    for await (const event of events) {
      if ("piece" in event) this.tokens += event.piece.tokens.length
      else this.#end(event.index, event.ending)
      yield event
    }
  }

  #end(index: number, { cachedTokens }: Ending): void {
    if (this.#firsts.has(index)) this.cachedTokens += cachedTokens
  }

  /** OpenAI's `usage`. */
  get usage() {
    return {
      prompt_tokens: this.promptTokens,
      completion_tokens: this.tokens,
      total_tokens: this.promptTokens + this.tokens,
      prompt_tokens_details: { cached_tokens: this.cachedTokens },
    }
  }
}
