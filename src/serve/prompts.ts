import type { LanguageModel, Tokenizer } from "../api.ts"
import { badField } from "./errors.ts"

/** The most answers that one request may ask for, over all its prompts. */
const MOST_ANSWERS = 128

/**
 * Refuses what cannot work before it is made into tokens, which takes long for long texts: others wait meanwhile.
 */
export class PromptLimits {
  readonly #context: number
  /** No text of more UTF-16 units is so few tokens that they fit the context. */
  readonly #mostCharacters: number

  constructor({ context, tokenizer }: LanguageModel) {
    this.#context = context
    this.#mostCharacters = context * longestToken(tokenizer!)
  }

  /** @throws {ApiError} for a text that is too long however its tokens fall */
  expectShort(param: string, characters: number): void {
    if (characters <= this.#mostCharacters) return
    const what = `text has ${characters} characters, expected what ${this.#context} tokens, the context, can hold`
    throw badField(param, what, "context_length_exceeded")
  }
}

/** @throws {ApiError} for too many answers */
export function expectFew(param: string, prompts: number, n: number): void {
  if (prompts * n <= MOST_ANSWERS) return
  throw badField(
    param,
    `${prompts} prompts with n of ${n} are ${prompts * n} answers, expected ${MOST_ANSWERS} at most`,
  )
}

function longestToken(tokenizer: Tokenizer): number {
  let longest = 1
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    longest = Math.max(longest, tokenizer.idToToken(id)?.length ?? 0)
  }
  return longest
}
