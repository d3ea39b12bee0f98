import type { Generation, LanguageModel, Tokenizer } from "../api.ts"
import { listeners } from "./host_checkpoints.ts"
import type { EngineApi, HostWire } from "./host_wire.ts"
import type {
  AnswerState,
  HostMethods,
  Id,
  ModelSnapshot,
  ModelState,
  Notice,
  TokenizerFacts,
  WireLoadOptions,
} from "./protocol.ts"
import { type Context, type Handlers, Moved } from "./served.ts"
import { toWire } from "./wire_errors.ts"

type ModelMethods = Pick<
  HostMethods,
  "load" | "ask" | "askTokenizer" | "dispatchesPerToken" | "loadAdapter" | "generate" | "dispose"
>

/** The models of a page, by the numbers that it knows. */
export class HostModels {
  readonly handlers: Handlers<ModelMethods>
  readonly #api: EngineApi
  readonly #wire: HostWire
  readonly #notify: (notice: Notice) => void
  readonly #models = new Map<Id, LanguageModel>()
  /** What was last told of each. */
  readonly #told = new Map<Id, string>()
  #ended = false
  #count = 0

  constructor(api: EngineApi, wire: HostWire, notify: (notice: Notice) => void) {
    this.#api = api
    this.#wire = wire
    this.#notify = notify
    this.handlers = {
      load: (args, context) => this.#load(args, context),
      ask: ({ model, method, args }) => this.#telling(model, (lm) => ask(lm, method, args)),
      askTokenizer: ({ model, method, args }) => ask(this.#tokenizer(model), method, args),
      dispatchesPerToken: ({ model }) => this.#telling(model, async (lm) => lm.dispatchesPerToken),
      loadAdapter: ({ model, location, options }, { signal }) =>
        this.#telling(model, (lm) => lm.loadAdapter(wire.location(location)!, { ...options, signal })),
      generate: (args, context) => this.#generate(args, context),
      dispose: async ({ model }) => {
        await this.#telling(model, (lm) => lm.dispose())
        this.#models.delete(model)
      },
    }
  }

  get(id: Id): LanguageModel {
    const lm = this.#models.get(id)
    if (lm) return lm
    throw new TypeError(`model ${id}: is disposed, expected an open one`)
  }

  /** Tells the page how a model is, if that has changed. */
  tell(id: Id): void {
    const lm = this.#models.get(id)
    if (!lm) return
    const state = stateOf(lm)
    const text = JSON.stringify(state)
    if (this.#told.get(id) === text) return
    this.#told.set(id, text)
    this.#notify({ model: id, state })
  }

  /** Disposes what the page has left. */
  dispose(): void {
    this.#ended = true
    for (const lm of this.#models.values()) lm.dispose().catch(() => {}) // the GPU may be gone already
    this.#models.clear()
  }

  async #load({ location, options }: HostMethods["load"]["args"], context: Context<HostMethods["load"]["event"]>) {
    const id = ++this.#count
    const { beside, prefixCache, ...rest } = options
    const lm = await this.#api.load(this.#wire.location(location), {
      ...rest,
      ...listeners(context),
      beside: beside === undefined ? undefined : this.get(beside),
      prefixCache: prefixCache && this.#prefixes(id, prefixCache),
    })
    if (this.#ended)
      await lm.dispose() // nobody is there any more who would do it
    else this.#models.set(id, lm)
    void lm.lost.then((error) => this.#notify({ model: id, lost: toWire(error) }))
    return { model: id, snapshot: snapshotOf(lm) }
  }

  #prefixes(id: Id, { store, maxBytes }: NonNullable<WireLoadOptions["prefixCache"]>) {
    const opened = store.kind === "name" ? store.name : this.#wire.prefixStore(store)
    return { store: opened, maxBytes, onSkip: (skipped: string) => this.#notify({ model: id, skipped }) }
  }

  async *#generate(
    { model, prompt, options: { draft, ...options } }: HostMethods["generate"]["args"],
    { signal, tell }: Context<HostMethods["generate"]["event"]>,
  ): AsyncGenerator<HostMethods["generate"]["item"], void, void> {
    const other = draft === undefined ? undefined : this.get(draft)
    const answer = this.get(model).generate(prompt, { ...options, draft: other, signal })
    tell({ prompt: answer.prompt, sampling: answer.sampling, ...answerState(answer) })
    try {
      for await (const piece of answer) {
        this.tell(model)
        yield { piece, ...answerState(answer) }
      }
      yield { piece: undefined, ...answerState(answer) }
    } finally {
      this.tell(model)
    }
  }

  /** Does something with a model, and tells how it is then before the result goes out. */
  async #telling<T>(id: Id, work: (lm: LanguageModel) => Promise<T>): Promise<T> {
    try {
      return await work(this.get(id))
    } finally {
      this.tell(id)
    }
  }

  #tokenizer(id: Id): Tokenizer {
    const { name, tokenizer } = this.get(id)
    if (tokenizer) return tokenizer
    throw new TypeError(`${name}: tokenizer.json is missing, expected it for text`)
  }
}

/** Calls a method that the page has named. What it gives is nobody else's, so that its arrays need not be copied. */
async function ask<T extends object, M extends keyof T>(
  of: T,
  method: M,
  args: readonly unknown[],
): Promise<Moved<unknown>> {
  const call = of[method] as (...args: readonly unknown[]) => unknown
  return new Moved(await call.apply(of, [...args]))
}

function snapshotOf(lm: LanguageModel): ModelSnapshot {
  const { name, config, context, sequences, device, parameters, generationConfig, tokenizer } = lm
  const facts = { name, config, context, sequences, device, parameters, generationConfig }
  return { ...facts, tokenizer: tokenizer && tokenizerFacts(tokenizer), state: stateOf(lm) }
}

function stateOf({ memory, adapters }: LanguageModel): ModelState {
  return { memory, adapters }
}

function answerState({ timings, finishReason }: Generation): AnswerState {
  return { timings, finishReason }
}

function tokenizerFacts({ bos, eos, pad, vocabSize, stripStart, hasChatTemplate }: Tokenizer): TokenizerFacts {
  return { bos, eos, pad, vocabSize, stripStart, hasChatTemplate }
}
