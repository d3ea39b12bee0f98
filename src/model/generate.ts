import type { Drawn, DrawOptions } from "./answer.ts"
import type { Model } from "./model.ts"
import { type Seated, Speculation, type SpeculationStats } from "./speculate.ts"

export interface GenerateOptions extends DrawOptions {
  /** The most tokens to draw. */
  readonly maxTokens: number
  /** What happens when the context is full: refuse beforehand, or go on from the prompt's first token and the last half. */
  readonly overflow: "error" | "shift"
  /** A model that proposes tokens, `expectDraft` having had nothing against it, and how many at a time. No mask then. */
  readonly draft?: { readonly model: Model; readonly tokens: number } | undefined
  readonly signal?: AbortSignal | undefined
}

/** What a generation cost so far. */
export interface GenerateStats extends SpeculationStats {
  /** Tokens of prompts that were computed, and those of which a cache had what they leave behind. */
  prefillTokens: number
  reusedTokens: number
  prefillMs: number
}

/**
 * Draws tokens after a prompt, until `maxTokens`. Several prompts may be underway at once, each in a sequence of the model; one
 * for which there is none waits.
 */
export async function* generateTokens(
  model: Model,
  prompt: readonly number[],
  options: GenerateOptions,
  stats: GenerateStats,
): AsyncGenerator<Drawn, void, void> {
  const { draft, signal } = options
  const seats = await take(draft ? [model, draft.model] : [model], prompt, signal)
  try {
    yield* generateInto(seats, prompt, options, stats)
  } finally {
    try {
      // After the answer, so that no one waits for it before the first token.
      if (!signal?.aborted) for (const { sequence } of seats) await sequence.savePrefix(prompt.slice(0, -1))
    } finally {
      for (const { model, sequence } of seats) model.seats.leave(sequence)
    }
  }
}

/** Waits for a free sequence of each model. */
async function take(
  models: readonly Model[],
  prompt: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Seated[]> {
  const taken: Seated[] = []
  try {
    for (const model of models.toSorted((a, b) => a.seats.order - b.seats.order)) {
      taken.push({ model, sequence: await model.seats.take(prompt, signal) })
    }
  } catch (error) {
    for (const { model, sequence } of taken) model.seats.leave(sequence)
    throw error
  }
  return taken.sort((a, b) => models.indexOf(a.model) - models.indexOf(b.model))
}

/** @param seats the model's, and then the draft's if there is one */
async function* generateInto(
  [target, draft]: readonly Seated[],
  prompt: readonly number[],
  options: GenerateOptions,
  stats: GenerateStats,
): AsyncGenerator<Drawn, void, void> {
  const { model, sequence } = target!
  const { maxTokens, overflow, signal } = options
  const speculation = draft && new Speculation(target!, draft, options.draft!.tokens)
  const history = [...prompt]
  let tokens: readonly number[] = prompt
  let left = maxTokens
  try {
    while (left > 0) {
      const room = model.context - tokens.length
      if (room < 1 || (overflow === "error" && left > room)) throw contextError(model, tokens.length, left)
      const count = Math.min(left, room)
      const began = performance.now()
      const reused = await prefill(target!, tokens.slice(0, -1), signal)
      if (draft) await prefill(draft, tokens.slice(0, -1), signal)
      stats.reusedTokens += reused
      stats.prefillTokens += tokens.length - 1 - reused
      stats.prefillMs += performance.now() - began
      const from = { tokens, history, drawn: maxTokens - left }
      const drawing = speculation
        ? speculation.draw(from, count, options, stats)
        : model.decoder.draw(sequence, from, count, options, stats)
      for await (const drawn of drawing) {
        history.push(...drawn.tokens)
        yield drawn
      }
      left -= count
      if (left > 0) tokens = [prompt[0]!, ...history.slice(-Math.max(1, Math.floor(model.context / 2)))]
    }
  } finally {
    speculation?.dispose()
  }
}

/**
 * Lets tokens through a sequence from position 0 on, those left out that are known from before.
 *
 * @returns how many those were
 */
async function prefill({ model, sequence }: Seated, ids: readonly number[], signal?: AbortSignal): Promise<number> {
  const others = model.sequences.filter((each) => each !== sequence)
  const reused = await sequence.reuse(ids, others, signal)
  await sequence.prefill(ids.slice(reused), reused, signal)
  sequence.prefix.mark()
  return reused
}

/** The error of a prompt and answer that do not fit. */
export function contextError(
  { context, config }: Pick<Model, "context" | "config">,
  prompt: number,
  maxTokens: number,
): RangeError {
  const remedies = [
    ...(context < config.maxPositions ? [`a context of up to ${config.maxPositions}`] : []),
    ...(prompt < context ? ["fewer new tokens", "overflow shift"] : ["a shorter prompt"]),
  ]
  return new RangeError(
    `generate: ${prompt} prompt tokens and ${maxTokens} new ones are ${prompt + maxTokens}, expected at most the context ` +
      `of ${context} (try ${remedies.join(" or ")})`,
  )
}
