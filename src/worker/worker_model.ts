import type { AdapterOptions, LanguageModel, Memory, Prompt, Tokenizer } from "../api.ts"
import type { Connection } from "./connection.ts"
import type { Wire, WorkerLocation } from "./page_wire.ts"
import type {
  Id,
  ModelMethod,
  ModelSnapshot,
  ModelState,
  TokenizerFact,
  TokenizerFacts,
  TokenizerMethod,
} from "./protocol.ts"
import { WorkerGeneration, type WorkerGenerationOptions } from "./worker_generation.ts"

/** Text to ids and back, as the session's tokenizer; what it computes comes from the engine. */
export type WorkerTokenizer = Pick<Tokenizer, TokenizerFact> & {
  readonly [K in TokenizerMethod]: (...args: Parameters<Tokenizer[K]>) => Promise<ReturnType<Tokenizer[K]>>
}

/** What cannot be as it is in the session. All else is, and a new member of the session is missed here by the compiler. */
type Different = "encode" | "tokenizer" | "dispatchesPerToken" | "generate" | "loadAdapter" | "lost"

export interface WorkerModelApi extends Pick<LanguageModel, Exclude<keyof LanguageModel, Different>> {
  readonly tokenizer: WorkerTokenizer | undefined
  readonly lost: Promise<Error>
  encode(prompt: Prompt): Promise<number[]>
  dispatchesPerToken(): Promise<number>
  generate(prompt: Prompt, options?: WorkerGenerationOptions): WorkerGeneration
  loadAdapter(location: WorkerLocation, options?: AdapterOptions): Promise<string>
}

/** What training works with, and what else refers to a model. Not a part of the package's API. */
export interface Remote {
  readonly connection: Connection
  readonly id: Id
}

export let remote: (lm: WorkerLanguageModel) => Remote

/**
 * A model that is loaded in a worker: the session's `LanguageModel`, with promises where the worker has to be asked. `memory` and
 * `adapters` are as the engine last told, which it does before each answer.
 */
export class WorkerLanguageModel implements WorkerModelApi {
  readonly name: LanguageModel["name"]
  readonly config: LanguageModel["config"]
  readonly context: LanguageModel["context"]
  readonly sequences: LanguageModel["sequences"]
  readonly device: LanguageModel["device"]
  readonly parameters: LanguageModel["parameters"]
  readonly generationConfig: LanguageModel["generationConfig"]
  /** Undefined where the folder has none: then token ids work and text does not. */
  readonly tokenizer: WorkerTokenizer | undefined
  /**
   * Comes true when nothing but `dispose` works any more: with a `GpuError` when the GPU device is lost, with a `WorkerError` when the
   * worker has died. A model that is disposed, or whose worker the page has terminated, is not lost.
   */
  readonly lost: Promise<Error>
  readonly #connection: Connection
  readonly #id: Id
  readonly #wire: Wire
  readonly #stopHearing: () => void
  #state: ModelState
  #disposed = false

  static {
    remote = (lm) => {
      lm.#check()
      return { connection: lm.#connection, id: lm.#id }
    }
  }

  /** @param wire what was handed out for it, until it is disposed */
  constructor(
    { connection, id }: Remote,
    { tokenizer, state, ...facts }: ModelSnapshot,
    wire: Wire,
    onSkip: ((reason: string) => void) | undefined,
  ) {
    this.name = facts.name
    this.config = facts.config
    this.context = facts.context
    this.sequences = facts.sequences
    this.device = facts.device
    this.parameters = facts.parameters
    this.generationConfig = facts.generationConfig
    this.tokenizer = tokenizer && tokenizerOf(tokenizer, connection, id)
    this.#connection = connection
    this.#id = id
    this.#wire = wire
    this.#state = state
    let lose!: (error: Error) => void
    this.lost = new Promise((resolve) => {
      lose = resolve
    })
    this.#stopHearing = connection.onModel(id, {
      onState: (state) => {
        this.#state = state
      },
      onSkip: (reason) => onSkip?.(reason),
      onLost: lose,
    })
  }

  get memory(): Memory {
    return this.#state.memory
  }

  get adapters(): LanguageModel["adapters"] {
    return this.#state.adapters
  }

  /** The ids of a prompt as the model gets them. */
  async encode(prompt: Prompt): Promise<number[]> {
    return this.#ask("encode", prompt)
  }

  async logits(...args: Parameters<LanguageModel["logits"]>): ReturnType<LanguageModel["logits"]> {
    return this.#ask("logits", ...args)
  }

  async hiddenStates(...args: Parameters<LanguageModel["hiddenStates"]>): ReturnType<LanguageModel["hiddenStates"]> {
    return this.#ask("hiddenStates", ...args)
  }

  async score(...args: Parameters<LanguageModel["score"]>): ReturnType<LanguageModel["score"]> {
    return this.#ask("score", ...args)
  }

  async predictions(...args: Parameters<LanguageModel["predictions"]>): ReturnType<LanguageModel["predictions"]> {
    return this.#ask("predictions", ...args)
  }

  async attention(...args: Parameters<LanguageModel["attention"]>): ReturnType<LanguageModel["attention"]> {
    return this.#ask("attention", ...args)
  }

  async lossAndGradients(
    ...args: Parameters<LanguageModel["lossAndGradients"]>
  ): ReturnType<LanguageModel["lossAndGradients"]> {
    return this.#ask("lossAndGradients", ...args)
  }

  /** Dispatches that one generated token takes. */
  async dispatchesPerToken(): Promise<number> {
    this.#check()
    return this.#connection.channel.call("dispatchesPerToken", { model: this.#id })
  }

  /**
   * Continues a text or answers a conversation. It begins when it is iterated, and what is wrong with the prompt or the options is
   * thrown then.
   */
  generate(prompt: Prompt, options: WorkerGenerationOptions = {}): WorkerGeneration {
    this.#check()
    const { draft } = options
    const other = draft && remote(draft)
    if (other && other.connection !== this.#connection) {
      throw new RangeError(`generate: draft ${draft.name} is in another worker, expected this one`)
    }
    return new WorkerGeneration({ connection: this.#connection, id: this.#id }, prompt, options, other?.id)
  }

  async loadAdapter(location: WorkerLocation, { signal, ...options }: AdapterOptions = {}): Promise<string> {
    this.#check()
    const wire = this.#connection.wire()
    const args = { model: this.#id, location: wire.location(location), options }
    try {
      return await this.#connection.channel.call("loadAdapter", args, { signal })
    } finally {
      wire.release()
    }
  }

  async setAdapters(...args: Parameters<LanguageModel["setAdapters"]>): Promise<void> {
    return this.#ask("setAdapters", ...args)
  }

  async removeAdapter(...args: Parameters<LanguageModel["removeAdapter"]>): Promise<void> {
    return this.#ask("removeAdapter", ...args)
  }

  /** Gives every GPU byte back. Later calls throw; a second dispose does nothing, nor does one when the worker is gone. */
  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    const { channel } = this.#connection
    try {
      if (!channel.ended) await channel.call("dispose", { model: this.#id })
    } finally {
      this.#stopHearing()
      this.#wire.release()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  #ask<M extends ModelMethod>(
    method: M,
    ...args: Parameters<LanguageModel[M]>
  ): Promise<Awaited<ReturnType<LanguageModel[M]>>> {
    this.#check()
    const result = this.#connection.channel.call("ask", { model: this.#id, method, args })
    return result as Promise<Awaited<ReturnType<LanguageModel[M]>>>
  }

  #check(): void {
    if (this.#disposed) throw new TypeError(`${this.name}: model is disposed, expected an open one`)
  }
}

function tokenizerOf(facts: TokenizerFacts, { channel }: Connection, model: Id): WorkerTokenizer {
  const ask = <M extends TokenizerMethod>(method: M, args: Parameters<Tokenizer[M]>) => {
    return channel.call("askTokenizer", { model, method, args }) as Promise<ReturnType<Tokenizer[M]>>
  }
  return {
    ...facts,
    encode: (...args) => ask("encode", args),
    decode: (ids, options) => ask("decode", [[...ids], options]),
    chat: (...args) => ask("chat", args),
    tokenToId: (...args) => ask("tokenToId", args),
    idToToken: (...args) => ask("idToToken", args),
    isSpecial: (...args) => ask("isSpecial", args),
    piece: (...args) => ask("piece", args),
  }
}
