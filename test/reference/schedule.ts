/** The multipliers of transformers' get_*_schedule_with_warmup, and one that halves in the middle, by their text. */
export function schedule(
  name: string,
  step: number,
  { steps, warmup, minimum = 0 }: { steps: number; warmup: number; minimum?: number },
): number {
  if (step < warmup) return step / Math.max(1, warmup)
  if (name === "linear") return Math.max(0, (steps - step) / Math.max(1, steps - warmup))
  if (name === "cosine") {
    const progress = (step - warmup) / Math.max(1, steps - warmup)
    return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)) * (1 - minimum) + minimum)
  }
  return name === "halve" && 2 * step >= steps ? 0.5 : 1
}
