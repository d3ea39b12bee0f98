import type { Message } from "./tokenizer/chat.ts"
import type { Tokenizer } from "./tokenizer/tokenizer.ts"

/** Text to continue, a conversation to answer, or token ids as they are. */
export type Prompt = string | readonly Message[] | readonly number[]

/** Whose prompt it is. */
export interface PromptReader {
  /** What errors call the model. */
  readonly name: string
  readonly tokenizer: Tokenizer | undefined
  readonly vocabSize: number
}

/**
 * The ids of a prompt as the model gets them: text with BOS in front, messages through the chat template.
 *
 * @throws {TypeError} for text without a tokenizer, RangeError for an empty prompt or an id outside the vocabulary
 */
export function promptIds(prompt: Prompt, reader: PromptReader): number[] {
  const ids = idsOf(prompt, reader)
  if (ids.length === 0) throw new RangeError("prompt: is empty, expected at least one token")
  const { vocabSize } = reader
  const bad = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize)
  if (bad === undefined) return ids
  throw new RangeError(`prompt: id ${bad} is outside the vocabulary, expected 0 to ${vocabSize - 1}`)
}

function idsOf(prompt: Prompt, { name, tokenizer }: PromptReader): number[] {
  if (prompt.length === 0) return []
  if (isIds(prompt)) return [...prompt]
  if (!tokenizer) {
    throw new TypeError(`${name}: tokenizer.json is missing, expected it for text (token ids work without)`)
  }
  return typeof prompt === "string" ? tokenizer.encode(prompt) : tokenizer.chat(prompt).ids
}

function isIds(prompt: Prompt): prompt is readonly number[] {
  return typeof prompt !== "string" && typeof prompt[0] === "number"
}
