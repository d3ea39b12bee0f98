/** Keeps the relative error defined for a target of 0; so 0 is met by 0 only. */
const GUARD = 1e-10

/**
 * How near a number is to the one asked for: `1 - min(1, |target - answer| / (1e-10 + |target|))`, and 0 for what is no integer
 * (Michelangelo, Vodrahalli et al. 2024, arXiv:2409.12640). If the target is 0, every other answer gives 0.
 */
export function nearness(answer: string, target: number): number {
  const text = answer.trim()
  if (!/^[+-]?\d+$/.test(text)) return 0
  return 1 - Math.min(1, Math.abs(target - Number(text)) / (GUARD + Math.abs(target)))
}

/** 1 for the same text, spaces around it aside, else 0. */
export function sameText(answer: string, target: string): number {
  return answer.trim() === target.trim() ? 1 : 0
}
