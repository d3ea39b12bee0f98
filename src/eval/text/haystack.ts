import { endsSentence } from "./books.ts"

/** Something to be found, and where: 0 is before the first word, 1 behind the last. */
export interface Needle {
  readonly text: string
  readonly depth: number
}

/** How far from its depth a needle may be moved to stand between two sentences, as a share of all words. */
const LEEWAY = 0.03

/**
 * Puts needles between the words of a text: each at its depth, or at the nearest end of a sentence if that is near. Needles of the same
 * place come in the order in which they are given.
 *
 * @param leeway how near, as a share of all words
 */
export function hide(words: readonly string[], needles: readonly Needle[], leeway = LEEWAY): string {
  const inOrder = needles
    .map(({ text, depth }) => ({ text, at: placeFor(words, depth, leeway) }))
    .sort((a, b) => a.at - b.at)
  const parts: string[] = []
  let done = 0
  for (const { text, at } of inOrder) {
    parts.push(...words.slice(done, at), text)
    done = at
  }
  return [...parts, ...words.slice(done)].join(" ")
}

/** Before which word something of this depth goes. */
function placeFor(words: readonly string[], depth: number, leeway: number): number {
  const at = Math.round(words.length * depth)
  const most = Math.floor(words.length * leeway)
  for (let by = 0; by <= most; by++) {
    if (isBoundary(words, at - by)) return at - by
    if (isBoundary(words, at + by)) return at + by
  }
  return at
}

function isBoundary(words: readonly string[], at: number): boolean {
  return at === 0 || at === words.length || (at > 0 && at < words.length && endsSentence(words[at - 1]!))
}
