import { type GenerationOptions, GpuError, type LanguageModel, type Piece } from "../api.ts"
import { checking, refusal } from "./errors.ts"
import { type Life, unavailable } from "./life.ts"
import type { Queue } from "./queue.ts"

/** One answer that a request asks for. */
export interface Ask {
  /** Token ids. */
  readonly prompt: readonly number[]
  readonly options: GenerationOptions
  /** The adapters that are on meanwhile; none is the base. */
  readonly adapters: readonly string[]
}

/** How an answer ended. */
export interface Ending {
  readonly finishReason: "stop" | "length"
  /** Tokens of the prompt that an earlier request had left in the model's cache. */
  readonly cachedTokens: number
}

/** What the server knows of the model: it takes an ask, waits for its turn and gives the pieces of an answer. */
export class Engine {
  readonly #lm: LanguageModel
  readonly #queue: Queue
  /** The GPU's error after which nothing works any more. */
  failure: GpuError | undefined

  constructor(lm: LanguageModel, queue: Queue) {
    this.#lm = lm
    this.#queue = queue
  }

  /**
   * One answer, piece by piece. When the request's life ends before the answer does, what is there of it counts as an
   * answer that was cut.
   *
   * @param again it is not the first answer of its request
   * @throws {ApiError} for what the model refuses, a full queue, or a life that ended before the first token
   */
  async *answer(ask: Ask, life: Life, again: boolean): AsyncGenerator<Piece, Ending, void> {
    if (this.failure) throw unavailable(`model: ${this.failure.message}`, "gpu_failed")
    try {
      return yield* this.#answer(ask, life, again)
    } catch (error) {
      if (error instanceof GpuError) this.failure = error
      throw error
    }
  }

  async *#answer({ prompt, options, adapters }: Ask, life: Life, again: boolean): AsyncGenerator<Piece, Ending, void> {
    const generation = checking(undefined, () => this.#lm.generate(prompt, { ...options, signal: life.signal }))
    let done = () => {}
    try {
      done = await this.#queue.turn(life.signal, again)
      await this.#adapt(adapters)
      yield* generation
    } catch (error) {
      if (life.ended === undefined) throw error
      if (!life.keepsAnswer || (!again && generation.tokens.length === 0)) throw life.signal.reason
    } finally {
      done()
    }
    const { finishReason = "length", timings } = generation
    return { finishReason: finishReason === "length" ? "length" : "stop", cachedTokens: timings.reusedTokens }
  }

  /** Leaves them as they are where they are right: what the model keeps of earlier requests stays good then. */
  async #adapt(names: readonly string[]): Promise<void> {
    const on = this.#lm.adapters.filter((each) => each.on).map(({ name }) => name)
    if (on.length === names.length && on.every((name) => names.includes(name))) return
    try {
      await this.#lm.setAdapters(names)
    } catch (error) {
      throw refusal("adapter", error)
    }
  }
}

/** A step of a request with several answers: a piece of one, or its end. */
export type AnswerEvent =
  | { readonly index: number; readonly piece: Piece }
  | { readonly index: number; readonly ending: Ending }

/** The answers one after another. Between two of them others have their turn. */
export async function* answers(
  engine: Engine,
  asks: readonly Ask[],
  life: Life,
): AsyncGenerator<AnswerEvent, void, void> {
  for (const [index, ask] of asks.entries()) {
    const pieces = engine.answer(ask, life, index > 0)
    try {
      for (;;) {
        const { done, value } = await pieces.next()
        if (done) {
          yield { index, ending: value }
          break
        }
        yield { index, piece: value }
      }
    } finally {
      await pieces.return(undefined as never) // a loop that is left here must not keep its turn
    }
  }
}

/** Counts of a request, over all its answers. A prompt with several answers counts once. */
export class Tally {
  readonly promptTokens: number
  cachedTokens = 0
  tokens = 0
  readonly #asks: readonly Ask[]
  readonly #seen = new Set<Ask["prompt"]>()

  constructor(asks: readonly Ask[]) {
    this.#asks = asks
    this.promptTokens = [...new Set(asks.map(({ prompt }) => prompt))].reduce((sum, { length }) => sum + length, 0)
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
    const { prompt } = this.#asks[index]!
    if (!this.#seen.has(prompt)) this.cachedTokens += cachedTokens
    this.#seen.add(prompt)
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
