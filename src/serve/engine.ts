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

/** An answer's place among those of its request. */
export interface Place {
  /** Ends the answer, when the request's life ends or nobody reads it any more. */
  readonly signal: AbortSignal
  /** It is not the first: it is never refused for want of room. */
  readonly again: boolean
  /** Called when it has its turn. */
  readonly onTurn: () => void
}

/** How an answer ended. */
export interface Ending {
  readonly finishReason: "stop" | "length"
  /** Its request's life ended before it did. */
  readonly cut: boolean
  /** Tokens of the prompt that an earlier answer had left in the model's cache. */
  readonly cachedTokens: number
}

/** What the server says of every answer's generation. */
export type Drafting = Pick<GenerationOptions, "draft" | "draftTokens">

/** What the server knows of the model: it takes an ask, waits for its turn and gives the pieces of an answer. */
export class Engine {
  readonly #lm: LanguageModel
  readonly #queue: Queue
  readonly #drafting: Drafting
  /** Settles when the adapters are as the last turn wanted them. */
  #adapted: Promise<void> = Promise.resolve()
  /** The GPU's error after which nothing works any more. */
  failure: GpuError | undefined

  /** @throws {RangeError} for a draft that cannot be one of the model's */
  constructor(lm: LanguageModel, queue: Queue, drafting: Drafting = {}) {
    this.#lm = lm
    this.#queue = queue
    this.#drafting = drafting
    lm.generate([0], drafting) // refused at once, not by each request; nothing is begun
  }

  /**
   * One answer, piece by piece. When the request's life ends before the answer does, and there is somebody to give it to, what is
   * there of it counts as an answer that was cut.
   *
   * @throws {ApiError} for what the model refuses, a full queue, or a client that left
   */
  async *answer(ask: Ask, life: Life, place: Place): AsyncGenerator<Piece, Ending, void> {
    if (this.failure) throw unavailable(`model: ${this.failure.message}`, "gpu_failed")
    try {
      return yield* this.#answer(ask, life, place)
    } catch (error) {
      if (error instanceof GpuError) this.failure = error
      throw error
    }
  }

  async *#answer(
    { prompt, options, adapters }: Ask,
    life: Life,
    { signal, again, onTurn }: Place,
  ): AsyncGenerator<Piece, Ending, void> {
    const drafting = options.schema === undefined ? this.#drafting : {} // a schema must see each token before the next
    const generation = checking(undefined, () => this.#lm.generate(prompt, { ...options, ...drafting, signal }))
    let done = () => {}
    let cut = false
    try {
      done = await this.#queue.turn(JSON.stringify(adapters.toSorted()), signal, again)
      await this.#adapt(adapters)
      onTurn()
      yield* generation
    } catch (error) {
      if (life.ended === undefined) throw error
      if (!life.keepsAnswer) throw life.signal.reason
      cut = true
    } finally {
      done()
    }
    const { finishReason = "length", timings } = generation
    return { finishReason: finishReason === "length" ? "length" : "stop", cut, cachedTokens: timings.reusedTokens }
  }

  /** Has these adapters on. Turns of the same adapters may come together: the first of them sets them, the others wait for it. */
  #adapt(names: readonly string[]): Promise<void> {
    const adapted = this.#adapted.then(() => this.#setAdapters(names))
    this.#adapted = adapted.catch(() => {}) // it is told to the turn that wanted them
    return adapted
  }

  /** Leaves them as they are where they are right: what the model keeps of earlier requests stays good then. */
  async #setAdapters(names: readonly string[]): Promise<void> {
    const on = this.#lm.adapters.filter((each) => each.on).map(({ name }) => name)
    if (on.length === names.length && on.every((name) => names.includes(name))) return
    try {
      await this.#lm.setAdapters(names)
    } catch (error) {
      throw refusal("adapter", error)
    }
  }
}
