import type { Score } from "../session.ts"
import type { Message } from "../tokenizer/chat.ts"

/** A value, or the promise of one: what a session gives at once, its twin in a worker has to ask for. */
export type Awaitable<T> = T | Promise<T>

/** What the harness asks of a tokenizer. */
export interface EvalTokenizer {
  readonly bos: number | undefined
  readonly hasChatTemplate: boolean
  encode(text: string, options?: { readonly bos?: boolean }): Awaitable<number[]>
  decode(ids: readonly number[]): Awaitable<string>
  chat(messages: readonly Message[]): Awaitable<{ readonly ids: number[] }>
}

/** An answer underway, as the session's `Generation`. */
export interface EvalAnswer extends AsyncIterable<unknown> {
  readonly text: string
  readonly tokens: readonly number[]
  readonly timings?: { readonly prefillTokens: number; readonly reusedTokens: number } | undefined
}

/**
 * What the harness asks of a model. A `LanguageModel` is one, so is a model in a worker, and so is anything of a test's own that
 * answers.
 */
export interface EvalModel {
  readonly name: string
  /** The most tokens that a prompt and its answer may have together. */
  readonly context: number
  readonly tokenizer: EvalTokenizer | undefined
  generate(
    prompt: readonly number[],
    options: {
      readonly maxTokens: number
      readonly stop?: readonly string[]
      readonly temperature: number
      readonly signal?: AbortSignal
    },
  ): EvalAnswer
  score(prompt: readonly number[]): Promise<Pick<Score, "logProbs">>
}

/** Where in a task's grid an instance lies. */
export interface Place {
  /** Tokens of prompt and answer together, as asked for; undefined for tasks whose texts have the length that they have. */
  readonly length: number | undefined
  /** Of what is to be found, in percent of the context; undefined where it has no one place. */
  readonly depth: number | undefined
  /** From 0 on. */
  readonly sample: number
}

/** What tells an instance from all others, before there is any text of it. */
export interface Plan extends Place {
  /** `niah_single/4096/50/0`: unique in the task, the same for the same settings. */
  readonly id: string
  readonly seed: number
  /** Instances of the same group begin with the same tokens, and are best run one after another. */
  readonly group: string
}

/** A prompt to continue, and what the answer should have. */
export interface AnswerInstance {
  readonly kind: "answer"
  readonly prompt: readonly number[]
  readonly maxTokens: number
  readonly stop: readonly string[]
  /** What is looked for in the answer; how, is the task's. */
  readonly refs: readonly string[]
}

/** A text whose tokens are scored from `from` on (at least 1, as nothing is before the first). */
export interface LossInstance {
  readonly kind: "loss"
  readonly ids: readonly number[]
  readonly from: number
  /** UTF-8 bytes and words of the scored part. */
  readonly bytes: number
  readonly words: number
}

/** Ways to go on of which one is right; the model takes the one it finds most probable. */
export interface ChoiceInstance {
  readonly kind: "choice"
  /** Whole sequences; each is scored from `from` on. */
  readonly options: readonly { readonly ids: readonly number[]; readonly from: number }[]
  readonly right: number
}

/** A text whose end is to be guessed: right if each token of it is the likeliest. */
export interface EndingInstance {
  readonly kind: "ending"
  readonly prompt: readonly number[]
  readonly ending: readonly number[]
}

export type Instance = (AnswerInstance | LossInstance | ChoiceInstance | EndingInstance) & {
  /** The prompt as people read it, for reports. */
  readonly text: string
  /** Facts of the instance that are worth keeping: keys, values, the topic. JSON. */
  readonly meta: Readonly<Record<string, unknown>>
}

/** What a model made of an instance. Of `loss`, nats per scored token; of `choice`, nats per option, summed. */
export type Response =
  | { readonly kind: "answer"; readonly text: string }
  | { readonly kind: "loss"; readonly losses: Float32Array }
  | { readonly kind: "choice"; readonly losses: readonly number[] }
  | { readonly kind: "ending"; readonly text: string; readonly right: boolean; readonly loss: number }

/** How good a response is. */
export interface Scored {
  /** Of `Task.metric`. */
  readonly score: number
  /** Further numbers by name, such as bits per byte, or the strict form of a metric. */
  readonly parts?: Readonly<Record<string, number>>
  /** Losses by position, in the buckets of the task, where the score is made of such. */
  readonly positions?: readonly PositionBucket[]
}

/** Mean loss over positions `[from, to)`, and how many tokens it is the mean of. */
export interface PositionBucket {
  readonly from: number
  readonly to: number
  readonly loss: number
  readonly tokens: number
}

/** What a user asks of a task; missing is the task's default. */
export interface TaskRequest {
  readonly lengths?: readonly number[]
  readonly depths?: readonly number[]
  readonly samples?: number
  readonly seed: number
  /** Tokens of an answer; each task has its own. */
  readonly maxTokens?: number
}

/** Texts that tasks are made of, by name: from the package, from a folder, from the network. */
export interface EvalData {
  /** @throws {RangeError} for a name that is none, with those that are */
  read(name: string): Promise<readonly unknown[]>
  /** Tells one version of the data from another: a hash. */
  fingerprint(name: string): Promise<string>
}

export interface MakeContext {
  readonly model: Pick<EvalModel, "name" | "context" | "tokenizer">
  readonly data: EvalData
  /** `chat` puts the prompt into a user's turn and what begins the answer into the model's; by the tokenizer if undefined. */
  readonly format: "chat" | "text" | undefined
  readonly request: TaskRequest
}

/** Answers that need no model, by which a score can be read. */
export interface Baselines {
  readonly empty: Response
  /** The prompt itself. */
  readonly echo: Response
  /** Drawn from what could be an answer. */
  readonly random: Response
}

/** A kind of question, and how answers to it are judged. */
export interface Task {
  readonly name: string
  /** One line for a list. */
  readonly summary: string
  /** What `score` is: `recall`, `accuracy`, `similarity`, `nats` per token. */
  readonly metric: string
  /** Whether more is better. */
  readonly better: "higher" | "lower"
  /** Paper and section of the task, for its report. */
  readonly source: string
  /** Names of the data that it reads. */
  readonly data: readonly string[]
  readonly defaults: Required<Pick<TaskRequest, "samples">> & Pick<TaskRequest, "lengths" | "depths" | "maxTokens">
  /**
   * What there is to run, without any text.
   *
   * @throws {RangeError} for a request that the task cannot serve: a depth it does not know, a length too small for it
   */
  plan(request: TaskRequest, data: EvalData): Promise<readonly Plan[]>
  /**
   * The instance of a plan: the same for the same plan, tokenizer and data, on every runtime. Prompt and `maxTokens` together have
   * `plan.length` tokens.
   *
   * @throws {RangeError} where it does not fit the length or the model's context, naming both
   */
  make(plan: Plan, context: MakeContext): Promise<Instance>
  score(instance: Instance, response: Response): Scored
  /** Missing for tasks whose score is a loss. */
  baselines?(plan: Plan, instance: Instance): Baselines
}
