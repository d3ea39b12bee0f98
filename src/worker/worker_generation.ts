import type { FinishReason, Generation, GenerationOptions, Piece, Prompt, Sampling, Timings } from "../api.ts"
import type { AnswerState, Id, WireGenerationOptions } from "./protocol.ts"
import type { Remote, WorkerLanguageModel } from "./worker_model.ts"

/** As for the session, with a draft that is in the same worker. */
export type WorkerGenerationOptions = Omit<GenerationOptions, "draft"> & {
  readonly draft?: WorkerLanguageModel | undefined
}

/** Batches of tokens that are drawn before the page reads them: two steps of the engine's own pipeline, and two on the way. */
const AHEAD = 4

/** One answer underway: iterate it once for its pieces. What was read of it so far is there at any time. */
export class WorkerGeneration implements Pick<Generation, "text" | "tokens" | "finishReason">, AsyncIterable<Piece> {
  /** The answer so far. */
  text = ""
  readonly tokens: number[] = []
  /** Undefined until the answer is whole. */
  finishReason: FinishReason | undefined
  /** The prompt as the model gets it. Undefined until the answer begins, as are the next two. */
  prompt: readonly number[] | undefined
  /** What the tokens are drawn with, the seed included. */
  sampling: Sampling | undefined
  timings: Timings | undefined
  readonly #remote: Remote
  readonly #asked: Prompt
  readonly #options: WireGenerationOptions
  readonly #signal: AbortSignal | undefined
  #started = false

  constructor(remote: Remote, prompt: Prompt, { signal, ...options }: WorkerGenerationOptions, draft: Id | undefined) {
    this.#remote = remote
    this.#asked = prompt
    this.#options = { ...options, draft }
    this.#signal = signal
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void, void> {
    if (this.#started) throw new TypeError("generate: this generation was iterated before, expected once")
    this.#started = true
    const { connection, id: model } = this.#remote
    const args = { model, prompt: this.#asked, options: this.#options }
    const answer = connection.channel.stream("generate", args, {
      ahead: AHEAD,
      signal: this.#signal,
      onEvent: ({ prompt, sampling, ...state }) => {
        this.prompt = prompt
        this.sampling = sampling
        this.#note(state)
      },
    })
    for await (const { piece, ...state } of answer) {
      this.#signal?.throwIfAborted() // what was drawn before is not wanted any more
      this.#note(state)
      if (!piece) continue
      this.tokens.push(...piece.tokens)
      this.text += piece.text
      yield piece
    }
  }

  #note({ timings, finishReason }: AnswerState): void {
    this.timings = timings
    this.finishReason = finishReason
  }
}
