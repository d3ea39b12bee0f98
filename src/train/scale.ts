import { nice, tickStep, ticks } from "d3-array"

/** A linear scale: values to pixels. */
export interface Scale {
  readonly domain: readonly [number, number]
  readonly range: readonly [number, number]
  at(value: number): number
}

export function linearScale(domain: readonly [number, number], range: readonly [number, number]): Scale {
  const share = (value: number) => (value - domain[0]) / (domain[1] - domain[0])
  return { domain, range, at: (value) => range[0] * (1 - share(value)) + range[1] * share(value) }
}

/** The scale from one of about so many round numbers to another. */
export function niceScale({ domain, range }: Scale, count: number): Scale {
  return linearScale(nice(...domain, count), range)
}

/** About so many round numbers in the domain. */
export function ticksOf({ domain }: Scale, count: number): number[] {
  return ticks(...domain, count)
}

/** A tick's number, with as many digits behind the point as tell ticks apart. */
export function formatTick({ domain }: Scale, count: number, value: number): string {
  const digits = Math.max(0, -Math.floor(Math.log10(tickStep(...domain, count))))
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits }
  return (value + 0).toLocaleString("en", options).replace("-", "\u2212")
}
