import type { Merge } from "./tokenizer_json.ts"

/** Cuts a text into the pieces that byte-pair encoding works on. */
export type PreTokenize = (text: string, options?: unknown) => string[]

/**
 * Cuts a text between two characters that no merge ever joins, so that byte-pair encoding works on short pieces, most of
 * them in its cache, instead of one piece as long as the text (Gemma's spaces are letters to it: nothing else splits
 * there). The result is exactly the same: a merge that crossed the cut would need a left token ending in the one
 * character and a right token beginning with the other, and there is none.
 */
export function cutAtMerges(inner: PreTokenize | null, merges: readonly Merge[]): PreTokenize {
  const joined = joinedCharacters(merges)
  return (text, options) => {
    const pieces: string[] = []
    for (const word of inner === null ? [text] : inner(text, options)) cut(word, joined, pieces)
    return pieces
  }
}

function cut(text: string, joined: ReadonlySet<number>, pieces: string[]): void {
  let start = 0
  let left = text.codePointAt(0) ?? 0
  for (let i = width(left); i < text.length; ) {
    const right = text.codePointAt(i)!
    if (!joined.has(pair(left, right))) {
      pieces.push(text.slice(start, i))
      start = i
    }
    left = right
    i += width(right)
  }
  if (start < text.length) pieces.push(text.slice(start))
}

/** Every pair of neighbouring characters that some merge joins. */
function joinedCharacters(merges: readonly Merge[]): Set<number> {
  const joined = new Set<number>()
  for (const [left, right] of merges) {
    if (left === "" || right === "") continue
    joined.add(pair(lastCodePoint(left), right.codePointAt(0)!))
  }
  return joined
}

function lastCodePoint(text: string): number {
  const last = text.charCodeAt(text.length - 1)
  const isPair = (last & 0xfc00) === 0xdc00 && (text.charCodeAt(text.length - 2) & 0xfc00) === 0xd800
  return isPair ? text.codePointAt(text.length - 2)! : last
}

const width = (codePoint: number) => (codePoint > 0xffff ? 2 : 1)
const pair = (left: number, right: number) => left * 0x110000 + right
