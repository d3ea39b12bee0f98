import { answerSeed, type GenerationOptions, type LanguageModel } from "../api.ts"
import type { Ask } from "./engine.ts"
import { badField } from "./errors.ts"
import { type Body, booleanField, numberField, objectField, show, stringsField, wholeField } from "./fields.ts"
import { refuseUnsupported } from "./unsupported.ts"

/** More than anybody means; each is looked for in every piece of the answer. */
const MOST_STOPS = 256
const MOST_CHOICES = 8

/** What a request for answers asks, whatever its prompts are. */
export interface Settings {
  readonly options: GenerationOptions
  /** Answers to each prompt. */
  readonly n: number
  readonly stream: boolean
  /** Ends a stream with the counts. */
  readonly includeUsage: boolean
}

/** Reads what chat and completions have in common; top_k, min_p and repetition_penalty are extensions. */
export function readSettings(body: Body): Settings {
  refuseUnsupported(body)
  const stop = stringsField(body, "stop")
  if (stop.includes("")) throw badField("stop", 'value is "", expected at least one character')
  if (stop.length > MOST_STOPS) throw badField("stop", `has ${stop.length} strings, expected ${MOST_STOPS} at most`)
  const stream = booleanField(body, "stream") ?? false
  const streamOptions = objectField(body, "stream_options")
  if (streamOptions && !stream) throw badField("stream_options", "is there without stream, expected stream to be true")
  return {
    options: {
      stop,
      temperature: numberField(body, "temperature", "a number from 0 to 1000", (t) => t >= 0 && t <= 1000),
      topP: numberField(body, "top_p", "a number above 0 and at most 1", (p) => p > 0 && p <= 1),
      topK: wholeField(body, "top_k", 0, 2 ** 31),
      minP: numberField(body, "min_p", "a number of at least 0 and below 1", (p) => p >= 0 && p < 1),
      repetitionPenalty: numberField(
        body,
        "repetition_penalty",
        "a number above 0 and at most 1000",
        (r) => r > 0 && r <= 1000,
      ),
      seed: wholeField(body, "seed", 0),
      schema: readSchema(body),
    },
    n: wholeField(body, "n", 1, MOST_CHOICES) ?? 1,
    stream,
    includeUsage: (streamOptions && booleanField(streamOptions, "include_usage")) ?? false,
  }
}

/** What the answer has to be besides text: any JSON object, or JSON of a schema. */
function readSchema(body: Body): GenerationOptions["schema"] {
  const format = objectField(body, "response_format")
  if (format === undefined || format.type === "text") return undefined
  if (format.type === "json_object") return true
  if (format.type !== "json_schema") {
    throw badField("response_format.type", `value is ${show(format.type)}, expected text, json_object or json_schema`)
  }
  const schema = objectField(objectField(format, "json_schema") ?? {}, "schema")
  if (schema) return schema
  throw badField("response_format.json_schema.schema", "is missing, expected a JSON schema")
}

/**
 * What the model is asked: n answers to each prompt, each with a seed of its own; the first has the seed that was given.
 * `maxTokens` is an upper bound: where the context has less room, the answer ends there.
 *
 * @param param the field that holds the prompts
 * @throws {ApiError} for a prompt that leaves no room in the context
 */
export function asksOf(
  lm: LanguageModel,
  prompts: readonly (readonly number[])[],
  { options, n }: Settings,
  adapters: readonly string[],
  param: string,
): Ask[] {
  return Array.from({ length: prompts.length * n }, (_, index) => {
    const prompt = prompts[Math.floor(index / n)]!
    const room = lm.context - prompt.length
    if (room < 1) {
      const what = `prompt has ${prompt.length} tokens, expected fewer than the context of ${lm.context}`
      throw badField(param, what, "context_length_exceeded")
    }
    const maxTokens = Math.min(options.maxTokens ?? room, room)
    const seed = options.seed === undefined ? undefined : answerSeed(options.seed, index)
    return { prompt, adapters, options: { ...options, maxTokens, seed } }
  })
}
