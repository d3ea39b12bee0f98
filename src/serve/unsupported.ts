import { badField } from "./errors.ts"
import { type Body, field, show } from "./fields.ts"

type Neutral = (value: unknown) => boolean

const only =
  (...values: unknown[]): Neutral =>
  (value) =>
    values.includes(value)
const empty: Neutral = (value) => typeof value === "object" && value !== null && Object.keys(value).length === 0

/**
 * Fields of OpenAI's API that ask for something this server does not do, and the values that ask for nothing. A client that
 * sends another one would get an answer it did not ask for, so it is refused. Fields that change no answer (`user`,
 * `metadata`, ...) and those that nobody knows are ignored, as OpenAI does.
 */
const UNSUPPORTED: Readonly<Record<string, readonly [neutral: Neutral, instead: string]>> = {
  tools: [empty, "no tools"],
  tool_choice: [only("none", "auto"), '"none" or "auto" (there are no tools)'],
  functions: [empty, "no functions"],
  function_call: [only("none", "auto"), '"none" or "auto" (there are no functions)'],
  logit_bias: [empty, "no bias"],
  frequency_penalty: [only(0), "0 (repetition_penalty works)"],
  presence_penalty: [only(0), "0 (repetition_penalty works)"],
  audio: [empty, "no audio"],
  modalities: [(value) => JSON.stringify(value) === '["text"]', '["text"]'],
  prediction: [empty, "no prediction"],
  web_search_options: [() => false, "no web search"],
  reasoning_effort: [only("none"), '"none"'],
  verbosity: [only("medium"), '"medium"'],
  store: [only(false), "false: nothing is kept"],
  service_tier: [only("auto", "default"), '"auto" or "default"'],
  suffix: [only(""), "no suffix"],
}

/** @throws {ApiError} for a field that cannot be honoured, by name */
export function refuseUnsupported(body: Body): void {
  for (const [name, [neutral, instead]] of Object.entries(UNSUPPORTED)) {
    const value = field(body, name)
    if (value === undefined || neutral(value)) continue
    throw badField(name, `value is ${show(value)}, expected ${instead}`, "unsupported_parameter")
  }
}
