import { readLikeliest } from "../kernels/likeliest.ts"
import type { Beginning, Drawn, DrawOptions, DrawStats } from "./answer.ts"
import type { ModelConfig } from "./config.ts"
import { DraftRounds, type Round } from "./draft_rounds.ts"
import type { Model } from "./model.ts"
import { commonLength, type Prefix } from "./prefix.ts"
import type { Sequence } from "./sequence.ts"

/** The most tokens that a draft may propose at a time. */
export const MAX_DRAFT_TOKENS = 16

/** A sequence of a model. */
export interface Seated {
  readonly model: Model
  readonly sequence: Sequence
}

/** What drawing with a draft has cost, and how many of the tokens that it proposed the model has drawn too. */
export interface SpeculationStats extends DrawStats {
  drafted: number
  accepted: number
}

/** What of a model decides whether it can be drafted for, and draft. */
export interface Draftable {
  readonly device: { readonly gpu: GPUDevice }
  readonly config: Pick<ModelConfig, "modelType" | "vocabSize">
  readonly context: number
}

/**
 * Refuses a draft that cannot help a model.
 *
 * @throws {RangeError} which says why
 */
export function expectDraft(model: Draftable, draft: Draftable): void {
  if (draft === model) throw new RangeError("generate: draft is the model itself, expected another")
  if (draft.device.gpu !== model.device.gpu) {
    throw new RangeError("generate: draft is on a GPU device of its own, expected the model's (load it with beside)")
  }
  for (const { config } of [model, draft]) {
    if (config.modelType !== "hgrn_bit") continue
    throw new RangeError("generate: with a draft a model is hgrn_bit, expected models that can go back some tokens")
  }
  const [V, own] = [model.config.vocabSize, draft.config.vocabSize]
  if (own !== V) throw new RangeError(`generate: draft has a vocabulary of ${own}, expected the model's ${V}`)
  if (draft.context < model.context) {
    throw new RangeError(
      `generate: draft has a context of ${draft.context}, expected at least the model's ${model.context}`,
    )
  }
}

/**
 * Draws what the model would draw alone, up to rounding, several tokens a round where a draft proposes the right ones: its draw
 * at a position is the largest of logit and noise, and the noise is a function of seed, position and token, which the draft
 * knows as well. What the model draws after a proposal that it would not have drawn is dropped.
 */
export class Speculation {
  readonly #target: Prefix
  readonly #draft: Prefix
  readonly #rounds: DraftRounds
  readonly #most: number
  /** How many tokens the next round drafts: more after one that was right to its end, fewer after another. */
  #count: number

  /** @param tokens the most to propose at a time; fewer where that is more than a piece of a prompt holds */
  constructor(target: Seated, draft: Seated, tokens: number) {
    const seats = [target, draft].map(({ model: { pool }, sequence }) => ({ sequence, pool }))
    // Rings hold a window and a piece: so far back the tokens behind a wrong proposal can go.
    const pieces = seats.map(({ sequence }) => sequence.inlet.ids.shape[0]!)
    this.#target = target.sequence.prefix
    this.#draft = draft.sequence.prefix
    this.#most = Math.min(tokens, ...pieces.map((length) => length - 1))
    this.#count = this.#most
    this.#rounds = new DraftRounds(seats[0]!, seats[1]!, target.model.config.vocabSize, this.#most)
  }

  /** Draws `count` tokens into the model's sequence, for which both must have room. */
  async *draw(
    from: Beginning,
    count: number,
    options: DrawOptions & { readonly signal?: AbortSignal | undefined },
    stats: SpeculationStats,
  ): AsyncGenerator<Drawn, void, void> {
    const tokens = [...from.tokens]
    const history = [...from.history]
    const end = tokens.length + count
    this.#rounds.begin(from, options)
    while (tokens.length < end) {
      const began = performance.now()
      const drawn = await this.#round(tokens, Math.min(this.#count, end - tokens.length - 1), options, stats)
      tokens.push(...drawn.tokens)
      history.push(...drawn.tokens)
      if (options.sampling.repetitionPenalty !== 1) this.#rounds.remember(history)
      stats.decodeMs += performance.now() - began
      options.signal?.throwIfAborted()
      yield drawn
    }
  }

  /** Frees what it holds; no draw may be underway. */
  dispose(): void {
    this.#rounds.dispose()
  }

  async #round(
    tokens: readonly number[],
    count: number,
    { logprobs }: DrawOptions,
    stats: SpeculationStats,
  ): Promise<Drawn> {
    const began = performance.now()
    const at = tokens.length - 1
    const token = tokens[at]!
    const reading = this.#submit(tokens, count, logprobs !== undefined)
    stats.hostMs += performance.now() - began
    const { drafted, drawn, known } = await reading
    const accepted = commonLength(drafted, drawn)
    wrote(this.#target, at, [token, ...drafted.slice(0, accepted)])
    if (count > 0) wrote(this.#draft, at, [token, ...drafted.slice(0, Math.min(accepted, count - 1))])
    this.#pace(count, accepted)
    stats.readbacks++
    stats.drawn += accepted + 1
    stats.drafted += count
    stats.accepted += accepted
    const right = drawn.slice(0, accepted + 1)
    if (logprobs === undefined) return { tokens: right }
    return { tokens: right, logprobs: right.map((each, r) => readLikeliest(known[r]!, 0, each, logprobs)) }
  }

  #submit(tokens: readonly number[], count: number, logprobs: boolean): Promise<Round> {
    const at = tokens.length - 1
    this.#target.markStep()
    this.#target.reserve(at, at + count + 1)
    if (count > 0) {
      // After a round that was right to its end the draft has not seen its own last token.
      for (let i = this.#draft.tokens.length; i < at; i++) this.#rounds.follow(tokens[i]!, i)
      this.#draft.markStep()
      this.#draft.reserve(at, at + count)
    }
    return this.#rounds.submit({ token: tokens[at]!, at, count }, logprobs)
  }

  #pace(count: number, accepted: number): void {
    if (count < this.#count) return // the end was near
    this.#count = accepted === count ? Math.min(this.#most, count + 2) : Math.max(1, count - 1)
  }
}

/** Says which tokens count of those that were written at position `at` and behind it. */
function wrote(prefix: Prefix, at: number, tokens: readonly number[]): void {
  prefix.append(at, tokens)
  prefix.reserve(at + tokens.length, at + tokens.length) // the sequence ends there: what lies behind is overwritten
}
