/** The share of references that an answer contains, whatever their case: RULER's measure (Hsieh et al. 2024, arXiv:2404.06654). */
export function recall(answer: string, refs: readonly string[]): number {
  const text = answer.toLowerCase()
  return refs.filter((ref) => text.includes(ref.toLowerCase())).length / refs.length
}

/** 1 if an answer contains any of the references, whatever their case, else 0: RULER's measure for questions. */
export function containsAny(answer: string, refs: readonly string[]): number {
  return recall(answer, refs) > 0 ? 1 : 0
}
