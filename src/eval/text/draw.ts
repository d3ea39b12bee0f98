import type { Random } from "../../train/random.ts"

/** A whole number of `[0, count)`. */
export function below(random: Random, count: number): number {
  return Math.floor(random.uniform() * count)
}

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[below(random, from.length)]!
}

/** The same things in another order: Fisher and Yates' shuffle. */
export function shuffled<T>(random: Random, things: readonly T[]): T[] {
  const order = [...things]
  for (let i = order.length - 1; i > 0; i--) {
    const j = below(random, i + 1)
    const taken = order[i]!
    order[i] = order[j]!
    order[j] = taken
  }
  return order
}

/** `count` different things. */
export function pickSome<T>(random: Random, from: readonly T[], count: number): T[] {
  return shuffled(random, from).slice(0, count)
}

/** `count` results of `draw` that are all different. Draws must have far more than `count` results. */
export function distinct(count: number, draw: () => string): string[] {
  const found = new Set<string>()
  while (found.size < count) found.add(draw())
  return [...found]
}

/** A number of so many digits, the first of which is not 0. */
export function digits(random: Random, count: number): string {
  return Array.from({ length: count }, (_, i) => (i === 0 ? 1 + below(random, 9) : below(random, 10))).join("")
}

const LOWER = "abcdefghijklmnopqrstuvwxyz"
const UPPER = LOWER.toUpperCase()

export function letters(random: Random, count: number, { upper = false } = {}): string {
  return Array.from({ length: count }, () => (upper ? UPPER : LOWER)[below(random, 26)]).join("")
}

/** Letters of either case and digits. */
export function alphanumeric(random: Random, count: number): string {
  const from = `${UPPER}${LOWER}0123456789`
  return Array.from({ length: count }, () => from[below(random, from.length)]).join("")
}
