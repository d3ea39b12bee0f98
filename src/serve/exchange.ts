import type { LanguageModel, Piece } from "../api.ts"
import type { AnswerEvent } from "./answers.ts"
import type { Ask } from "./engine.ts"
import type { Models } from "./models.ts"
import type { PromptLimits } from "./prompts.ts"
import type { Tally } from "./tally.ts"

/** A request that was read: what it asks of the model, and how what comes of that is told. */
export interface Exchange {
  readonly asks: readonly Ask[]
  readonly stream: boolean
  /** The objects of a stream, each as soon as it can be. */
  chunks(events: AsyncIterable<AnswerEvent>, tally: Tally): AsyncGenerator<object, void, void>
  /** The one object of answers that come as a whole. */
  whole(answers: readonly Answer[], tally: Tally): object
}

/** What requests are read against. */
export interface Served {
  readonly lm: LanguageModel
  readonly models: Models
  readonly limits: PromptLimits
  /** OpenAI's `system_fingerprint`: under another one the same seed may give another text. */
  readonly fingerprint: string
}

export type TokenLogprobs = NonNullable<Piece["logprobs"]>

/** An answer from its first piece to its end. */
export interface Answer {
  readonly text: string
  /** One a token where the request asked for them. */
  readonly logprobs: TokenLogprobs
  readonly finishReason: string
}

/** What every object of an answer begins with. */
export function head(prefix: string, object: string, model: string, { fingerprint }: Served) {
  return {
    id: `${prefix}-${crypto.randomUUID().replaceAll("-", "")}`,
    object,
    created: Math.floor(Date.now() / 1000),
    model,
    system_fingerprint: fingerprint,
  }
}

/** The answers of all indices, whole. */
export async function gather(events: AsyncIterable<AnswerEvent>): Promise<Answer[]> {
  const answers: { text: string; logprobs: TokenLogprobs[number][]; finishReason: string }[] = []
  for await (const event of events) {
    answers[event.index] ??= { text: "", logprobs: [], finishReason: "" }
    const answer = answers[event.index]!
    if ("ending" in event) answer.finishReason = event.ending.finishReason
    else {
      answer.text += event.piece.text
      answer.logprobs.push(...(event.piece.logprobs ?? []))
    }
  }
  return answers
}
