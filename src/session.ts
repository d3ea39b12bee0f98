import { Generation, type GenerationOptions } from "./generation.ts"
import { batch, expectLabels, parametersOf } from "./gradient_request.ts"
import type { Memory } from "./kernels/device.ts"
import type { GpuError } from "./kernels/errors.ts"
import type { Tuning } from "./kernels/tuning.ts"
import { Adapters } from "./model/adapters.ts"
import { type AttentionHead, attentionWeights } from "./model/attention_weights.ts"
import type { GenerationConfig, ModelConfig } from "./model/config.ts"
import type { ParameterCounts } from "./model/cost.ts"
import { PLAIN_STEP } from "./model/decode_steps.ts"
import { type HostArray, hiddenStates, logits, losses } from "./model/evaluate.ts"
import { contextError } from "./model/generate.ts"
import { type LossAndGradients, lossAndGradients } from "./model/gradients.ts"
import type { Model } from "./model/model.ts"
import type { Parameter } from "./model/parameter.ts"
import { readAdapter } from "./model/peft.ts"
import { type Predictions, predictions } from "./model/predictions.ts"
import type { Folder, ModelLocation } from "./model/source.ts"
import { expectDraft } from "./model/speculate.ts"
import { type Prompt, promptIds } from "./prompt.ts"
import type { Tokenizer } from "./tokenizer/tokenizer.ts"
import { Turns } from "./turns.ts"

export interface GradientOptions {
  readonly labels?: readonly number[] | readonly (readonly number[])[]
  readonly wrt?: readonly string[]
  /** Compute again what each layer needs for its gradients instead of keeping it: less memory, more time. */
  readonly recompute?: boolean
}

export interface AdapterOptions {
  /** What to call it; `default` without. */
  readonly name?: string
  /** Branch, tag or commit of a Hub id. */
  readonly revision?: string
  /** For gated and private repositories of the Hub, as for `load`. */
  readonly token?: string | undefined
  readonly signal?: AbortSignal
}

/** What a model makes of a text. */
export interface Score {
  readonly tokens: readonly number[]
  /** Natural log-probability of each token after the first, given those before it. */
  readonly logProbs: Float32Array
  /** Mean negative log-likelihood per scored token, in nats. */
  readonly loss: number
  readonly perplexity: number
}

/** Opens an adapter's folder. */
export type OpenFolder = (location: ModelLocation, options: Omit<AdapterOptions, "name">) => Promise<Folder>

/** What a language model is made of beside the model. */
export interface LanguageModelParts {
  /** Where it came from. */
  readonly folder: Folder
  readonly tokenizer?: Tokenizer | undefined
  readonly generationConfig?: GenerationConfig | undefined
  readonly openFolder: OpenFolder
}

/** What training works with: the model itself, its adapters, its turn among the calls. Not a part of the package's API. */
export interface Internals {
  readonly model: Model
  readonly adapters: Adapters
  /** Where the model came from. */
  readonly folder: Folder
  /** Waits for its turn, in which weights may be changed; the caller must call what it gets when done. */
  acquire(): Promise<() => void>
}

export let internals: (lm: LanguageModel) => Internals

/**
 * A loaded model with its tokenizer. Calls wait for one another, but for generations: as many as the model has sequences are
 * underway at once, and go through it together. All else waits until they end, and those begun later wait for it.
 */
export class LanguageModel {
  /** What errors call it: the path, URL or Hub id it came from. */
  readonly name: string
  /** Undefined where the folder has none: then token ids work and text does not. */
  readonly tokenizer: Tokenizer | undefined
  /** The checkpoint's recommendations for sampling. */
  readonly generationConfig: GenerationConfig | undefined
  readonly #model: Model
  readonly #adapters: Adapters
  readonly #folder: Folder
  readonly #openFolder: OpenFolder
  readonly #turns = new Turns()
  /** Those whose tokens are known to be the same. */
  readonly #drafts = new WeakSet<LanguageModel>()
  #disposed = false

  static {
    internals = (lm) => {
      return { model: lm.#model, adapters: lm.#adapters, folder: lm.#folder, acquire: () => lm.#acquireToChange() }
    }
  }

  constructor(model: Model, { folder, tokenizer, generationConfig, openFolder }: LanguageModelParts) {
    this.name = folder.name
    this.#folder = folder
    this.tokenizer = tokenizer
    this.generationConfig = generationConfig
    this.#model = model
    this.#adapters = new Adapters(model)
    this.#openFolder = openFolder
  }

  get config(): ModelConfig {
    return this.#model.config
  }

  /** Positions that the cache holds. */
  get context(): number {
    return this.#model.context
  }

  /** How many generations can be underway at once, each with a cache of `context` positions; one more waits for a place. */
  get sequences(): number {
    return this.#model.sequences.length
  }

  /** The adapter, for people, whether it computes on the CPU, and which variants of kernels it uses. */
  get device(): { readonly description: string; readonly software: boolean; readonly tuning: Tuning } {
    const { description, software, tuning } = this.#model.device
    return { description, software, tuning }
  }

  /** How many parameters it has, by part. */
  get parameters(): ParameterCounts {
    return this.#model.size
  }

  /** GPU bytes held, by kind. */
  get memory(): Memory {
    return this.#model.device.memory
  }

  /**
   * Comes true when the GPU device is lost: the driver or the browser has taken it away, and nothing but `dispose` works from then on.
   * A model that is disposed is not lost. Browsers and Deno tell at once, Node when it is at work with the GPU.
   */
  get lost(): Promise<GpuError> {
    return this.#model.device.lost
  }

  /** Dispatches that one generated token takes. */
  get dispatchesPerToken(): number {
    return this.#model.decoder.steps.plan(PLAIN_STEP).dispatches
  }

  /**
   * The ids of a prompt as the model gets them: text with BOS in front, messages through the chat template.
   *
   * @throws {TypeError} for text without a tokenizer, RangeError for an empty prompt or an id outside the vocabulary
   */
  encode(prompt: Prompt): number[] {
    const { name, tokenizer } = this
    return promptIds(prompt, { name, tokenizer, vocabSize: this.config.vocabSize })
  }

  /**
   * Logits after every position of a sequence.
   *
   * @param last only that many positions from the end
   * @returns `[T, V]`
   */
  async logits(prompt: Prompt, { last }: { last?: number } = {}): Promise<HostArray> {
    const ids = this.#sequence(prompt)
    const count = last ?? ids.length
    if (!Number.isInteger(count) || count < 1 || count > ids.length) {
      throw new RangeError(`logits: last is ${last}, expected 1 to ${ids.length}`)
    }
    return this.#exclusive(() => logits(this.#model, ids, count))
  }

  /** The residual stream: the scaled embedding, what each layer gives, and the final norm's output; L + 2 of `[T, C]`. */
  async hiddenStates(prompt: Prompt): Promise<HostArray[]> {
    const ids = this.#sequence(prompt)
    return this.#exclusive(() => hiddenStates(this.#model, ids))
  }

  /** Log-probability of every token of a text. Needs at least two tokens, BOS counting as one. */
  async score(prompt: Prompt): Promise<Score> {
    const tokens = this.#sequence(prompt)
    if (tokens.length < 2) throw new RangeError(`score: text has ${tokens.length} token, expected at least 2`)
    const each = await this.#exclusive(() => losses(this.#model, tokens))
    const loss = each.reduce((sum, value) => sum + value, 0) / each.length
    return { tokens, logProbs: each.map((value) => -value), loss, perplexity: Math.exp(loss) }
  }

  /**
   * What the model expects after each token: the likeliest next ones with their log-probabilities, and how likely the one was
   * that came. What is told of a token that follows another is what `score` tells.
   *
   * @param top how many of the likeliest to name, at most 256
   * @returns   arrays of T tokens, T at most the context
   */
  async predictions(prompt: Prompt, { top = 10 }: { top?: number } = {}): Promise<Predictions> {
    const ids = this.#sequence(prompt)
    return this.#exclusive(() => predictions(this.#model, ids, top))
  }

  /**
   * The attention of one head of one layer: the softmax weights that it multiplies values with, adapters that are on and the
   * layer's window included.
   *
   * @returns `[T, T]`, a row for each query, a column for each key, 0 for keys that the query does not see
   * @throws {RangeError} for a layer or a head that there is not, a layer without attention, or more than 8192 tokens
   */
  async attention(prompt: Prompt, which: AttentionHead): Promise<HostArray> {
    const ids = this.#sequence(prompt)
    return this.#exclusive(() => attentionWeights(this.#model, ids, which))
  }

  /**
   * The mean cross-entropy of a sequence, or of a batch of them, and its gradients.
   *
   * @param ids     one sequence of token ids, or several; packed they must fit the context
   * @param labels  as many as ids, -100 where nothing is asked; position t is scored on label t + 1. The ids by default
   * @param wrt     checkpoint names of the parameters wanted; all by default
   * @throws {RangeError} for an unknown name, labels of another length, or no label at all
   */
  async lossAndGradients(
    ids: readonly number[] | readonly (readonly number[])[],
    { labels = ids, wrt, recompute }: GradientOptions = {},
  ): Promise<LossAndGradients> {
    this.#check()
    const sequences = batch(ids).map((each, i) => ({ ids: this.encode(each), labels: batch(labels)[i] ?? [] }))
    expectLabels(sequences, { V: this.config.vocabSize, context: this.context })
    const wanted = parametersOf(this.#model, this.#parameters(), wrt)
    return this.#exclusive(() => lossAndGradients(this.#model, sequences, wanted, { recompute }))
  }

  /**
   * Continues a text or answers a conversation. Iterate it for the pieces; afterwards it has the whole text, why it ended
   * and what it took. Leaving the loop stops it.
   *
   * @throws {RangeError} at once, for options or a prompt that cannot work
   */
  generate(prompt: Prompt, options: GenerationOptions = {}): Generation {
    this.#check()
    const ids = this.encode(prompt)
    const { context, config } = this.#model
    const room = context - ids.length
    const shift = options.overflow === "shift"
    const fits = options.maxTokens === undefined ? room >= 1 : options.maxTokens <= room
    if (ids.length >= context || (!fits && !shift)) {
      throw contextError({ context, config }, ids.length, options.maxTokens ?? 1)
    }
    const { draft } = options
    if (draft) this.#expectDraft(draft)
    return new Generation(
      this.#model,
      ids,
      { tokenizer: this.tokenizer, defaults: this.generationConfig },
      options,
      draft ? draft.#model : undefined,
      () => (draft ? this.#acquireWith(draft) : this.#acquire("share")),
    )
  }

  /** The adapters that are loaded, and whether they are on. */
  get adapters(): { readonly name: string; readonly on: boolean }[] {
    return this.#adapters.names.map((name) => ({ name, on: this.#adapters.on.includes(name) }))
  }

  /**
   * Loads a PEFT adapter folder beside the model and turns it on; those that are on stay on, and add up.
   *
   * @returns the adapter's name
   * @throws {RangeError} when it does not fit the model, or the name is taken
   */
  async loadAdapter(location: ModelLocation, { name = "default", ...options }: AdapterOptions = {}): Promise<string> {
    this.#check()
    const folder = await this.#openFolder(location, options)
    const { modules } = await readAdapter(folder)
    await folder.close?.()
    await this.#exclusive(async () => this.#adapters.add(name, modules))
    return name
  }

  /** Turns on the adapters of these names and all others off. The base is as it was when none is on, to the bit. */
  async setAdapters(names: readonly string[]): Promise<void> {
    this.#check()
    await this.#exclusive(async () => this.#adapters.set(names))
  }

  /** Takes an adapter off and gives its memory back. */
  async removeAdapter(name: string): Promise<void> {
    this.#check()
    await this.#exclusive(async () => this.#adapters.remove(name))
  }

  /** Gives every GPU byte back. Later calls throw; a second dispose does nothing. */
  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    await this.#turns.alone()
    this.#model.dispose()
    this.#model.device.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  /** What gradients can be taken with respect to. */
  #parameters(): Map<string, Parameter> {
    return new Map([...this.#model.parameters, ...this.#adapters.parameters])
  }

  #sequence(prompt: Prompt): number[] {
    this.#check()
    const ids = this.encode(prompt)
    if (ids.length > this.context) {
      throw new RangeError(
        `prompt: ${ids.length} tokens, expected at most the context of ${this.context} (the model's limit is ${this.config.maxPositions})`,
      )
    }
    return ids
  }

  #check(): void {
    if (this.#disposed) throw new TypeError(`${this.name}: model is disposed, expected an open one`)
    this.#model.device.check()
  }

  #expectDraft(draft: LanguageModel): void {
    draft.#check()
    expectDraft(this.#model, draft.#model)
    if (this.#drafts.has(draft)) return
    const [own, other] = [this.tokenizer, draft.tokenizer]
    for (let id = 0; own && other && id < this.config.vocabSize; id++) {
      if (own.idToToken(id) === other.idToToken(id)) continue
      const [a, b] = [own, other].map((each) => JSON.stringify(each.idToToken(id)) ?? "none")
      throw new RangeError(`generate: token ${id} of the draft ${draft.name} is ${b}, expected ${a} as here`)
    }
    this.#drafts.add(draft)
  }

  /** Waits for a turn, alone or beside others that share it; the caller must call what it gets when done. */
  async #acquire(turn: "share" | "alone"): Promise<() => void> {
    const release = await this.#turns[turn]()
    if (this.#disposed) {
      release()
      this.#check()
    }
    return release
  }

  /** Waits for turns here and at another, where all who want both wait for the same first: so none wait for each other. */
  async #acquireWith(other: LanguageModel): Promise<() => void> {
    const [a, b] = this.#model.seats.order < other.#model.seats.order ? [this, other] : [other, this]
    const releaseFirst = await a.#acquire("share")
    try {
      const releaseSecond = await b.#acquire("share")
      return () => {
        releaseSecond()
        releaseFirst()
      }
    } catch (error) {
      releaseFirst()
      throw error
    }
  }

  async #acquireToChange(): Promise<() => void> {
    const release = await this.#acquire("alone")
    return () => {
      this.#model.changed()
      release()
    }
  }

  async #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const release = await this.#acquire("alone")
    try {
      return await work()
    } finally {
      release()
    }
  }
}
