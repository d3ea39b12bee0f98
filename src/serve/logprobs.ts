import type { Tokenizer } from "../api.ts"
import type { TokenLogprobs } from "./exchange.ts"

/** A token as OpenAI's API shows one: its text, and its bytes where those are a part of a character only. */
interface TokenText {
  readonly token: string
  readonly bytes: readonly number[]
}

/** What one id adds to a text. Bytes that are no text by themselves are written `bytes:\xf0\x9f`. */
export function tokenText(tokenizer: Tokenizer, id: number): TokenText {
  const piece = tokenizer.piece(id, false) ?? ""
  if (typeof piece === "string") return { token: piece, bytes: [...new TextEncoder().encode(piece)] }
  const bytes = [...piece]
  try {
    return { token: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(piece), bytes }
  } catch {
    return { token: `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`, bytes }
  }
}

/** `logprobs` of a chat's choice. */
export function chatLogprobs(tokenizer: Tokenizer, entries: TokenLogprobs) {
  const described = ({ token, logprob }: { token: number; logprob: number }) => {
    const text = tokenText(tokenizer, token)
    return { token: text.token, logprob, bytes: text.bytes }
  }
  const content = entries.map((entry) => ({ ...described(entry), top_logprobs: entry.top.map(described) }))
  return { content, refusal: null }
}

/**
 * `logprobs` of a completion's choice.
 *
 * @param offset where the first token's text begins in the choice's text, in UTF-16 units
 */
export function completionLogprobs(tokenizer: Tokenizer, entries: TokenLogprobs, offset: number) {
  const text = (id: number) => tokenText(tokenizer, id).token
  const tokens = entries.map(({ token }) => text(token))
  let next = offset
  return {
    tokens,
    token_logprobs: entries.map(({ logprob }) => logprob),
    top_logprobs: entries.map(({ top }) => {
      // Tokens of the same text: the likelier one comes first, and is the one that is told.
      return Object.fromEntries([...top].reverse().map(({ token, logprob }) => [text(token), logprob]))
    }),
    text_offset: tokens.map((token) => {
      const at = next
      next += token.length
      return at
    }),
  }
}
