import type { LanguageModel } from "../src/index.ts"
import { readTextFile } from "./input.ts"

/** The text of a file that an option names, undefined where it names none. */
export async function readSome(flag: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  const text = await readTextFile(path)
  if (text.trim() === "") throw new RangeError(`${flag}: text is empty, expected some`)
  return text
}

/**
 * A text of any length, in pieces of at most a context, each behind a begin token if the text has one.
 *
 * @param context tokens of a piece; the model's by default
 */
export function pieces(lm: LanguageModel, flag: string, text: string, context = lm.context): number[][] {
  const ids = lm.encode(text)
  const begin = ids.slice(0, ids[0] === lm.tokenizer?.bos ? 1 : 0)
  const size = context - begin.length
  const count = Math.ceil((ids.length - begin.length) / size)
  const all = Array.from({ length: count }, (_, i) => [
    ...begin,
    ...ids.slice(begin.length + i * size, begin.length + (i + 1) * size),
  ])
  const scored = all.filter((piece) => piece.length >= 2)
  if (scored.length === 0) throw new RangeError(`${flag}: text has ${ids.length} token, expected at least 2`)
  return scored
}
