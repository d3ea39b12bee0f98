// Where a chart's points lie: scales, their ticks, and what of many points can be seen.

import { nice, ticks } from "d3-array"

export interface Point {
  readonly x: number
  readonly y: number
}

export type ScaleKind = "linear" | "log"

/** A value's place in pixels. */
export interface Scale {
  readonly kind: ScaleKind
  readonly from: number
  readonly to: number
  at(value: number): number
}

/**
 * A scale over all values, with room around a single one.
 *
 * @param range the pixels of the least and of the largest value
 */
export function scaleOf(kind: ScaleKind, values: readonly number[], range: readonly [number, number]): Scale {
  const [from, to] = domainOf(kind, values)
  const place = kind === "log" ? Math.log : (value: number) => value
  const perUnit = (range[1] - range[0]) / (place(to) - place(from))
  return { kind, from, to, at: (value) => range[0] + (place(value) - place(from)) * perUnit }
}

function domainOf(kind: ScaleKind, values: readonly number[]): [number, number] {
  const least = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  if (least > most) return kind === "log" ? [1, 10] : [0, 1]
  if (least < most) return [least, most]
  return kind === "log" ? [least / 2, least * 2] : [least - 0.5, least + 0.5]
}

/** The scale from a round number to a round one. */
export function niceScale(values: readonly number[], range: readonly [number, number], count: number): Scale {
  const { from, to } = scaleOf("linear", values, range)
  return scaleOf("linear", nice(from, to, count), range)
}

/** About so many round numbers on a scale. */
export function ticksOf({ kind, from, to }: Scale, count: number): number[] {
  if (kind === "linear") return ticks(from, to, count)
  const powers = Array.from({ length: Math.floor(Math.log10(to)) - Math.floor(Math.log10(from)) + 1 }, (_, i) => {
    return 10 ** (Math.floor(Math.log10(from)) + i)
  })
  const inside = (value: number) => value >= from && value <= to
  const fine = powers.flatMap((power) => [power, 2 * power, 5 * power]).filter(inside)
  return fine.length > count ? powers.filter(inside) : fine
}

/** Points that can be drawn on such a scale, from left to right. */
export function drawable(points: readonly Point[], kind: ScaleKind): Point[] {
  return points
    .filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y) && (kind === "linear" || x > 0))
    .sort((a, b) => a.x - b.x)
}

/** The lowest and the highest point of each column of pixels: drawn, they look as all do. */
export function extremes(points: readonly Point[], x: Scale): Point[] {
  const columns = new Map<number, [low: Point, high: Point]>()
  for (const point of points) {
    const column = Math.floor(x.at(point.x))
    const [low, high] = columns.get(column) ?? [point, point]
    columns.set(column, [point.y < low.y ? point : low, point.y > high.y ? point : high])
  }
  return [...columns.values()].flatMap((pair) => (pair[0] === pair[1] ? [pair[0]] : pair.sort((a, b) => a.x - b.x)))
}

/**
 * Each point's mean with its neighbours, a fiftieth of all on either side; at the beginning, where losses fall fast, as many
 * on both sides as there are before it.
 */
export function meanOfNeighbours(points: readonly Point[]): Point[] {
  const sums = [0]
  for (const { y } of points) sums.push(sums.at(-1)! + y)
  const reach = Math.ceil(points.length / 50)
  return points.map(({ x }, i) => {
    const [first, end] = [Math.max(0, i - reach), Math.min(points.length, i + Math.min(reach, i) + 1)]
    return { x, y: (sums[end]! - sums[first]!) / (end - first) }
  })
}

/** The point of a series that is nearest to a place, in pixels. */
export function nearest(points: readonly Point[], x: Scale, pixel: number): Point | undefined {
  let best: Point | undefined
  for (const point of points) {
    if (!best || Math.abs(x.at(point.x) - pixel) < Math.abs(x.at(best.x) - pixel)) best = point
  }
  return best
}
