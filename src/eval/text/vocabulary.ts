import { type Book, sentenceWords } from "./books.ts"

const WORD = /^[a-z]{4,10}$/

/**
 * Plain words of books, in the order of the alphabet: 4 to 10 lower-case letters, and found at least three times, which leaves out
 * names and slips.
 */
export function vocabularyOf(books: readonly Book[]): string[] {
  const counts = new Map<string, number>()
  for (const book of books) {
    for (const word of sentenceWords(book.text)) {
      const plain = word.replace(/[.,;:!?]$/, "")
      if (WORD.test(plain)) counts.set(plain, (counts.get(plain) ?? 0) + 1)
    }
  }
  return [...counts].flatMap(([word, count]) => (count >= 3 ? [word] : [])).sort()
}
