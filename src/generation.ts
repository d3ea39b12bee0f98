import { ConstrainedText, type Constraint, constraintOf } from "./grammar/constraint.ts"
import type { Schema } from "./grammar/schema.ts"
import { MAX_LIKELIEST, type TokenLogProbability } from "./kernels/likeliest.ts"
import type { Sampling } from "./kernels/sample.ts"
import type { GenerationConfig } from "./model/config.ts"
import { PLAIN_STEP } from "./model/decode_steps.ts"
import { type GenerateStats, generateTokens } from "./model/generate.ts"
import type { Model } from "./model/model.ts"
import { MAX_DRAFT_TOKENS } from "./model/speculate.ts"
import type { LanguageModel } from "./session.ts"
import { StopMatcher } from "./tokenizer/stop.ts"
import { TextStream } from "./tokenizer/stream.ts"
import type { Tokenizer } from "./tokenizer/tokenizer.ts"

/** Sampling defaults are the checkpoint's (generation_config.json); a checkpoint without them is greedy. */
export interface GenerationOptions extends Partial<Sampling> {
  /** The most tokens to generate; by default until the model ends its text or the context is full. */
  readonly maxTokens?: number
  /** Strings that end the text; they are not part of it. */
  readonly stop?: readonly string[]
  /** Go on past the model's end tokens. */
  readonly ignoreEos?: boolean
  /** When the context is full: refuse beforehand (`error`), or drop the oldest half and go on (`shift`). */
  readonly overflow?: "error" | "shift"
  /**
   * With each token its natural log-probability and those of so many of the likeliest tokens, 0 to 20, under the model's own
   * distribution: before temperature, penalty, filters and schema.
   */
  readonly logprobs?: number
  /**
   * The answer is JSON that fits this schema, or any JSON object for true; cut where tokens run out or a stop string comes. What of
   * JSON schema is held to: docs/constrained.md. Tokens then come one by one, as each decides what may follow.
   */
  readonly schema?: Schema | undefined
  /**
   * A smaller model of the same vocabulary that proposes tokens, loaded `beside` this one. What comes is what would come without
   * it, up to rounding; sooner where it often proposes what this model draws. Not with a schema.
   */
  readonly draft?: LanguageModel | undefined
  /** The most tokens that the draft proposes at a time, 1 to 16; 4 by default. */
  readonly draftTokens?: number | undefined
  readonly signal?: AbortSignal
}

/** The most tokens that a draft proposes at a time, if nothing else is asked for. */
const DRAFT_TOKENS = 4

export type FinishReason = "eos" | "stop" | "length"

/** A piece of the answer: the tokens drawn together and the text that they complete. */
export interface Piece {
  readonly text: string
  readonly tokens: readonly number[]
  /** Of each token, where `logprobs` asks for it. */
  readonly logprobs?: readonly TokenLogProbability[] | undefined
}

export interface Timings {
  readonly promptTokens: number
  /** Of the prompt's tokens before its last, with which drawing begins: those that were computed. */
  readonly prefillTokens: number
  /** Those of which the cache, or a file, had what they leave behind. */
  readonly reusedTokens: number
  /** Generated tokens that are part of the answer, the end token not counted. */
  readonly tokens: number
  readonly prefillMs: number
  readonly decodeMs: number
  /** Of decodeMs, the host's time to submit work, per token drawn. */
  readonly hostMsPerToken: number
  readonly prefillTokensPerSecond: number
  readonly decodeTokensPerSecond: number
  readonly dispatchesPerToken: number
  /** Times that the host read tokens back. */
  readonly readbacks: number
  /** What a draft has proposed, and how many of those tokens the model has drawn too. */
  readonly draftedTokens: number
  readonly acceptedTokens: number
}

interface Vocabulary {
  readonly tokenizer: Tokenizer | undefined
  readonly defaults: GenerationConfig | undefined
}

/** One answer underway: iterate it once for its pieces. What it has so far is there at any time. */
export class Generation implements AsyncIterable<Piece> {
  /** The prompt as the model gets it. */
  readonly prompt: readonly number[]
  /** What the tokens are drawn with, the seed included. */
  readonly sampling: Sampling
  /** The answer so far. */
  text = ""
  readonly tokens: number[] = []
  /** Undefined until the answer is whole. */
  finishReason: FinishReason | undefined
  readonly #model: Model
  readonly #vocabulary: Vocabulary
  readonly #options: GenerationOptions
  readonly #constraint: Constraint | undefined
  readonly #draft: { readonly model: Model; readonly tokens: number } | undefined
  readonly #acquire: () => Promise<() => void>
  readonly #stats: GenerateStats = {
    prefillTokens: 0,
    reusedTokens: 0,
    prefillMs: 0,
    decodeMs: 0,
    drawn: 0,
    hostMs: 0,
    readbacks: 0,
    drafted: 0,
    accepted: 0,
  }
  #started = false

  constructor(
    model: Model,
    prompt: readonly number[],
    vocabulary: Vocabulary,
    options: GenerationOptions,
    draft: Model | undefined,
    acquire: () => Promise<() => void>,
  ) {
    this.prompt = prompt
    this.sampling = samplingOf(options, vocabulary.defaults)
    this.#model = model
    this.#vocabulary = vocabulary
    this.#options = options
    this.#acquire = acquire
    new StopMatcher(options.stop ?? []) // throws now for a bad stop string
    if (options.stop?.length && !vocabulary.tokenizer) {
      throw new TypeError("generate: stop strings need a tokenizer, expected a tokenizer.json in the folder")
    }
    checkInteger("maxTokens", options.maxTokens ?? 1, 1, Number.MAX_SAFE_INTEGER)
    checkInteger("logprobs", options.logprobs ?? 0, 0, MAX_LIKELIEST)
    checkInteger("draftTokens", options.draftTokens ?? DRAFT_TOKENS, 1, MAX_DRAFT_TOKENS)
    this.#constraint = constraintFor(options.schema, vocabulary, model)
    this.#draft = draft && { model: draft, tokens: options.draftTokens ?? DRAFT_TOKENS }
    if (draft && this.#constraint) {
      throw new TypeError("generate: draft is given with a schema, expected one of the two")
    }
  }

  get timings(): Timings {
    const { prefillTokens, reusedTokens, prefillMs, decodeMs, drawn, hostMs, readbacks, drafted, accepted } =
      this.#stats
    const rate = (count: number, ms: number) => (ms > 0 ? (count * 1000) / ms : 0)
    return {
      promptTokens: this.prompt.length,
      prefillTokens,
      reusedTokens,
      tokens: this.tokens.length,
      prefillMs,
      decodeMs,
      hostMsPerToken: drawn > 0 ? hostMs / drawn : 0,
      prefillTokensPerSecond: rate(prefillTokens, prefillMs),
      decodeTokensPerSecond: rate(this.tokens.length, decodeMs),
      dispatchesPerToken: this.#model.decoder.steps.plan({
        ...PLAIN_STEP,
        masked: this.#constraint !== undefined,
        logprobs: this.#options.logprobs !== undefined,
      }).dispatches,
      readbacks,
      draftedTokens: drafted,
      acceptedTokens: accepted,
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void, void> {
    if (this.#started) throw new TypeError("generate: this generation was iterated before, expected once")
    this.#started = true
    const release = await this.#acquire()
    try {
      yield* this.#run()
    } finally {
      release()
    }
  }

  async *#run(): AsyncGenerator<Piece, void, void> {
    const { tokenizer, defaults } = this.#vocabulary
    const { maxTokens, stop = [], ignoreEos = false, overflow = "error", logprobs, signal } = this.#options
    const ends = ignoreEos ? [] : [...this.#model.config.eos, ...(defaults?.eos ?? [])]
    const eos = new Set(ends)
    const stream = tokenizer && new TextStream(tokenizer)
    stream?.push(this.prompt) // the answer goes on where the prompt ends; what this gives is the prompt's own text
    const matcher = new StopMatcher(stop)
    const room = this.#model.context - this.prompt.length
    const limit = maxTokens ?? (overflow === "shift" ? Number.MAX_SAFE_INTEGER : room)
    const mask = this.#constraint && new ConstrainedText(this.#constraint, eos)
    const draft = this.#draft
    const settings = { sampling: this.sampling, maxTokens: limit, overflow, logprobs, mask, draft, signal }
    for await (const drawn of generateTokens(this.#model, this.prompt, settings, this.#stats)) {
      const tokens: number[] = []
      let text = ""
      for (const id of drawn.tokens) {
        if (eos.has(id)) {
          this.finishReason = "eos"
          break
        }
        tokens.push(id)
        const found = matcher.push(stream?.push([id]) ?? "")
        text += found.text
        if (found.stopped) {
          this.finishReason = "stop"
          break
        }
      }
      if (mask?.final) this.finishReason ??= "eos" // nothing but the end could come
      const finished = this.finishReason !== undefined || this.tokens.length + tokens.length >= limit
      if (finished) {
        this.finishReason ??= "length"
        if (this.finishReason !== "stop") {
          const last = matcher.push(stream?.flush() ?? "")
          text += last.text + matcher.flush()
        }
      }
      this.tokens.push(...tokens)
      this.text += text
      if (tokens.length > 0 || text !== "") yield { text, tokens, logprobs: drawn.logprobs?.slice(0, tokens.length) }
      if (finished) return
    }
  }
}

function constraintFor(
  schema: Schema | undefined,
  { tokenizer }: Vocabulary,
  { config }: Model,
): Constraint | undefined {
  if (schema === undefined) return undefined
  if (tokenizer) return constraintOf(tokenizer, config.vocabSize, schema)
  throw new TypeError("generate: a schema needs a tokenizer, expected a tokenizer.json in the folder")
}

function samplingOf(options: GenerationOptions, defaults: GenerationConfig | undefined): Sampling {
  const filtered = options.topK !== undefined || options.topP !== undefined || options.minP !== undefined
  const warm = defaults?.doSample === true || filtered
  const sampling = {
    repetitionPenalty: options.repetitionPenalty ?? defaults?.repetitionPenalty ?? 1,
    temperature: options.temperature ?? (warm ? (defaults?.temperature ?? 1) : 0),
    topK: options.topK ?? defaults?.topK ?? 0,
    topP: options.topP ?? defaults?.topP ?? 1,
    minP: options.minP ?? defaults?.minP ?? 0,
    seed: options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!,
  }
  checkNumber("temperature", sampling.temperature, (t) => t >= 0 && t <= 1000, "0 to 1000")
  checkInteger("topK", sampling.topK, 0, 2 ** 31)
  checkNumber("topP", sampling.topP, (p) => p > 0 && p <= 1, "above 0 and at most 1")
  checkNumber("minP", sampling.minP, (p) => p >= 0 && p < 1, "at least 0 and below 1")
  checkNumber("repetitionPenalty", sampling.repetitionPenalty, (p) => p > 0 && p <= 1000, "above 0 and at most 1000")
  checkInteger("seed", sampling.seed, 0, Number.MAX_SAFE_INTEGER)
  return sampling
}

function checkNumber(name: string, value: number, valid: (value: number) => boolean, range: string): void {
  if (typeof value !== "number" || !valid(value))
    throw new RangeError(`generate: ${name} is ${value}, expected ${range}`)
}

function checkInteger(name: string, value: number, least: number, most: number): void {
  checkNumber(
    name,
    value,
    (n) => Number.isSafeInteger(n) && n >= least && n <= most,
    `a whole number from ${least} to ${most}`,
  )
}
