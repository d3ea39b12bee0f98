/**
 * How many words an answer shares with a reference: the harmonic mean of precision and recall over words, the best of all references.
 * Case, punctuation and articles do not count (Rajpurkar et al. 2016, arXiv:1606.05250).
 */
export function f1(answer: string, refs: readonly string[]): number {
  return Math.max(0, ...refs.map((ref) => overlap(normalWords(answer), normalWords(ref))))
}

/** 1 if the answer is one of the references, case, punctuation and articles aside, else 0. */
export function exactMatch(answer: string, refs: readonly string[]): number {
  const text = normalWords(answer).join(" ")
  return refs.some((ref) => normalWords(ref).join(" ") === text) ? 1 : 0
}

/** A text's words in lower case, without punctuation and articles. */
export function normalWords(text: string): string[] {
  const plain = text.toLowerCase().replace(/[\p{P}\p{S}]/gu, "")
  return plain.split(/\s+/u).filter((word) => word !== "" && !/^(a|an|the)$/.test(word))
}

function overlap(answer: readonly string[], ref: readonly string[]): number {
  if (answer.length === 0 || ref.length === 0) return answer.length === ref.length ? 1 : 0
  const left = new Map<string, number>()
  for (const word of ref) left.set(word, (left.get(word) ?? 0) + 1)
  let common = 0
  for (const word of answer) {
    const count = left.get(word) ?? 0
    if (count === 0) continue
    left.set(word, count - 1)
    common++
  }
  return (2 * common) / (answer.length + ref.length)
}
