import type { Tokenizer, TokenLogProbability } from "../src/index.ts"
import { table } from "./output.ts"

/** What --json tells of each token's probability. docs/cli.md describes the fields. */
export function logprobsJson(rows: readonly TokenLogProbability[], tokenizer: Tokenizer | undefined) {
  const told = (token: number, logprob: number) => ({ token, text: textOf(token, tokenizer), logprob })
  return rows.map(({ token, logprob, top }) => {
    return { ...told(token, logprob), top: top.map((each) => told(each.token, each.logprob)) }
  })
}

/** A line for each token: its text, its log-probability, and the likeliest with theirs. */
export function logprobsTable(rows: readonly TokenLogProbability[], tokenizer: Tokenizer | undefined): string {
  const shown = (token: number) => (tokenizer ? JSON.stringify(textOf(token, tokenizer)) : String(token))
  const lines = rows.map(({ token, logprob, top }) => {
    return [
      shown(token),
      logprob.toFixed(4),
      top.map((each) => `${shown(each.token)} ${each.logprob.toFixed(4)}`).join("  "),
    ]
  })
  return table([["token", "logprob", rows[0]?.top.length ? "likeliest" : ""], ...lines], { right: [1] })
}

/** What a token adds to a text; a token that is a part of a character goes by its name. */
function textOf(token: number, tokenizer: Tokenizer | undefined): string {
  const piece = tokenizer?.piece(token, false)
  if (typeof piece === "string") return piece
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(piece)
  } catch {
    return tokenizer?.idToToken(token) ?? ""
  }
}
