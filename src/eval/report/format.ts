import type { TaskFacts } from "./aggregate.ts"
import type { Estimate, Interval } from "./statistics.ts"

/** A number of a few characters, as in a cell of a heatmap. */
export function short(value: number): string {
  const size = Math.abs(value)
  if (size < 9.995) return value.toFixed(2)
  if (size < 99.95) return value.toFixed(1)
  return size < 99_999.5 ? value.toFixed(0) : value.toExponential(1)
}

/** A number as a table gives it. */
export function exact(value: number): string {
  const size = Math.abs(value)
  if (size < 9.9995) return value.toFixed(3)
  return size < 9999.5 ? value.toPrecision(4) : value.toExponential(3)
}

/** A difference, with its sign; `by` is how it is written without. */
export function signed(value: number, by: (value: number) => string): string {
  const text = by(Math.abs(value))
  if (/^[0.]+$/.test(text)) return text
  return `${value < 0 ? "−" : "+"}${text}`
}

/** `0.81 to 0.93`. */
export function intervalText([low, high]: Interval, by: (value: number) => string = exact): string {
  return `${by(low)} to ${by(high)}`
}

/** `0.870 (0.812 to 0.926)`. */
export function estimateText({ mean, interval }: Estimate): string {
  return interval ? `${exact(mean)} (${intervalText(interval)})` : exact(mean)
}

/** `+0.120 (+0.031 to +0.202)`. */
export function differenceText({ mean, interval }: Estimate): string {
  const by = (value: number) => signed(value, exact)
  return interval ? `${by(mean)} (${intervalText(interval, by)})` : by(mean)
}

/** A p-value; below what the draws can tell apart there is no sense in digits. */
export function pText(p: number): string {
  return p < 0.001 ? "< 0.001" : p.toFixed(3)
}

/** `32k` for 32,768 tokens: short enough for an axis. */
export function lengthText(length: number): string {
  return length >= 1024 && length % 1024 === 0 ? `${length / 1024}k` : `${length}`
}

/** `32,768 tokens`. */
export function tokensText(tokens: number): string {
  return `${countText(tokens)} ${tokens === 1 ? "token" : "tokens"}`
}

export function countText(count: number): string {
  return count.toLocaleString("en-US")
}

/** `recall, more is better`. */
export function metricText({ metric, better }: TaskFacts): string {
  return `${metric}, ${better === "higher" ? "more" : "less"} is better`
}

/** What is cut where a line has no more room. */
export function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text
}
