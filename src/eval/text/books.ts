import { Random } from "../../train/random.ts"
import { textField } from "../records.ts"
import type { EvalData } from "../task.ts"
import { below } from "./draw.ts"

/** A long text. */
export interface Book {
  readonly title: string
  readonly text: string
}

/** The books of the data, each a record `{ title, text }`. */
export async function readBooks(data: EvalData): Promise<Book[]> {
  const records = await data.read("books")
  return records.map((record, i) => {
    const where = `books:${i + 1}`
    return { title: textField(record, "title", where), text: textField(record, "text", where) }
  })
}

/** The words of a text, with what stands beside them: full stops, quotation marks. */
export function sentenceWords(text: string): string[] {
  return text.split(/\s+/u).filter((word) => word !== "")
}

/** Whether a sentence ends with this word. */
export function endsSentence(word: string): boolean {
  return /[.!?]["'”’)\]]*$/u.test(word)
}

/**
 * `count` words of books: from the beginning of some sentence that the seed chooses on, through the books in order and round again.
 *
 * @throws {RangeError} if the books have no words
 */
export function bookWords(books: readonly Book[], seed: number, count: number): string[] {
  const random = new Random(seed)
  const first = below(random, books.length)
  const start = random.uniform()
  const words: string[] = []
  for (let i = 0; words.length < count; i++) {
    const all = sentenceWords(books[(first + i) % books.length]?.text ?? "")
    if (i >= books.length && words.length === 0)
      throw new RangeError("books: number of words is 0, expected at least 1")
    const from = i === 0 ? sentenceAt(all, Math.floor(all.length * start)) : 0
    for (let at = from; at < all.length && words.length < count; at++) words.push(all[at]!)
  }
  return words
}

/** The first word after the next end of a sentence; the very first, if there is none. */
function sentenceAt(words: readonly string[], from: number): number {
  for (let at = from; at < words.length - 1; at++) if (endsSentence(words[at]!)) return at + 1
  return 0
}
