import type { EvalData } from "../task.ts"
import { readBooks, sentenceWords } from "./books.ts"

const WORD = /^[a-z]{4,10}$/

/** What was found in records of books: they are many, and the same for each instance. */
const known = new WeakMap<readonly unknown[], Promise<readonly string[]>>()

/**
 * Plain words of the books, in the order of the alphabet: 4 to 10 lower-case letters, and found at least three times, which leaves out
 * names and slips.
 */
export async function vocabulary(data: EvalData): Promise<readonly string[]> {
  const records = await data.read("books")
  const words = known.get(records) ?? readBooks(data).then((books) => plainWords(books.map(({ text }) => text)))
  known.set(records, words)
  return await words
}

function plainWords(texts: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const word of texts.flatMap(sentenceWords)) {
    const plain = word.replace(/[.,;:!?]$/, "")
    if (WORD.test(plain)) counts.set(plain, (counts.get(plain) ?? 0) + 1)
  }
  return [...counts].flatMap(([word, count]) => (count >= 3 ? [word] : [])).sort()
}
