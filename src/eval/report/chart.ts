import type { ScaleContinuousNumeric } from "d3-scale"
import { symbol, symbolCircle, symbolDiamond, symbolSquare, symbolTriangle } from "d3-shape"
import { SERIES } from "./color.ts"
import { cut } from "./format.ts"
import { escapeText, px } from "./markup.ts"

/** A drawing that is put into a page, or made a file of. */
export interface Chart {
  /** `niah_single-scores-by-length`: fit for a file's name. */
  readonly name: string
  /** What is drawn, in words. */
  readonly title: string
  readonly width: number
  readonly height: number
  readonly marks: readonly string[]
  /** Whether a reader can choose parts of it in a page. */
  readonly choosable?: boolean
}

/** A line of a legend. */
export interface LegendEntry {
  readonly name: string
  /** Markup of what stands before the name, 24 wide and around `y = 0`. */
  readonly swatch: string
}

/** How charts look on white. A page gives other colours to the same classes where it is dark. */
export const CHART_STYLE = `
.chart text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #475569; font-size: 13px }
.chart .title { fill: #0f172a; font-size: 15px; font-weight: 600 }
.chart .tick { font-size: 12px; font-variant-numeric: tabular-nums }
.chart .cell text { font-size: 12.5px; font-variant-numeric: tabular-nums; text-anchor: middle }
.chart .dark { fill: #000000 }
.chart .light { fill: #ffffff }
.chart .grid { stroke: #e2e8f0 }
.chart .axis { stroke: #94a3b8 }
.chart .baseline { stroke: #64748b; stroke-width: 1.5 }
.chart .none { fill: #f1f5f9 }
.chart .none + text { fill: #64748b }
.chart .line { fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round }
.chart .fit { fill: none; stroke-width: 1.5; stroke-dasharray: 6 4 }
.chart .bar { stroke-width: 1.5 }
.chart .band { stroke: none; fill-opacity: 0.15 }`

const LEGEND_LINE = 20
/** A little wider than the font's mean, as no one can measure text here. */
const LETTER = 6.9
const SWATCH = 30
const GAP = 22
const SYMBOLS = [symbolCircle, symbolSquare, symbolTriangle, symbolDiamond]

/** The chart inside a page: colours are the page's. */
export function inPage(chart: Chart): string {
  return `<svg class="chart" ${frame(chart)}>${chart.marks.join("")}</svg>`
}

/** The chart as a file of its own, on a white panel, so that it reads on pages of any colour. */
export function standalone(chart: Chart): string {
  const { width, height, marks } = chart
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="chart" ${frame({ ...chart, choosable: false })}>`,
    `<style>${CHART_STYLE}\n</style>`,
    `<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="10" fill="#ffffff" stroke="#e2e8f0"/>`,
    ...marks,
    "</svg>\n",
  ].join("\n")
}

function frame({ title, width, height, choosable }: Chart): string {
  const role = choosable ? "group" : "img"
  return `viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="${role}" aria-label="${escapeText(title)}"`
}

export function titleMark(title: string, width: number): string {
  return `<text class="title" x="16" y="26">${escapeText(cut(title, Math.floor((width - 32) / 8)))}</text>`
}

/** Names beside their marks, in as many lines as they need, from `y = 50` on. */
export function legend(entries: readonly LegendEntry[], width: number): { marks: string[]; bottom: number } {
  let [x, y] = [16, 50]
  const marks = entries.map(({ name, swatch }) => {
    const label = cut(name, Math.floor((width - 32 - SWATCH) / LETTER))
    const wide = SWATCH + LETTER * label.length
    if (x > 16 && x + wide > width - 16) {
      x = 16
      y += LEGEND_LINE
    }
    const mark = `<g transform="translate(${px(x)} ${y - 4.5})">${swatch}</g><text x="${px(x + SWATCH)}" y="${y}">${escapeText(label)}</text>`
    x += wide + GAP
    return mark
  })
  return { marks, bottom: y }
}

/** How a run is drawn: by a colour and by a form, so that one of them is enough. */
export function seriesColor(run: number): string {
  return SERIES[run % SERIES.length]!
}

/** Classes and colour of a run's mark: the class is what a dark page changes the colour by. */
export function seriesMark(kind: "line" | "fit" | "bar" | "band", run: number): string {
  const paint = kind === "band" ? "fill" : "stroke"
  return `class="${kind} s${run % SERIES.length}" ${paint}="${seriesColor(run)}"`
}

export function point(x: number, y: number, run: number, title = ""): string {
  const path = symbol(SYMBOLS[run % SYMBOLS.length]!, 56)()
  const words = title && `<title>${escapeText(title)}</title>`
  return `<path class="point s${run % SERIES.length}" transform="translate(${px(x)} ${px(y)})" d="${path}" fill="${seriesColor(run)}">${words}</path>`
}

export interface Tick {
  readonly value: number
  readonly text: string
}

export interface Axes {
  readonly x: ScaleContinuousNumeric<number, number>
  readonly y: ScaleContinuousNumeric<number, number>
  /** The plot's sides; what is drawn may keep away from them. */
  readonly left: number
  readonly right: number
  readonly xTicks: readonly Tick[]
  readonly yTicks: readonly Tick[]
  readonly xLabel: string
  readonly yLabel: string
}

/** Horizontal lines of a grid, and what is written beside and below. Texts below that would run into others are left out. */
export function axes({ x, y, left, right, xTicks, yTicks, xLabel, yLabel }: Axes): string[] {
  const [bottom, top] = y.range() as [number, number]
  let free = Number.NEGATIVE_INFINITY
  const below = xTicks.flatMap(({ value, text }) => {
    const at = px(x(value))
    const half = (LETTER * text.length) / 2 + 3
    if (at - half < free) return []
    free = at + half
    const label = `<text class="tick" x="${at}" y="${bottom + 20}" text-anchor="middle">${text}</text>`
    return [`<line class="axis" x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 5}"/>`, label]
  })
  return [
    ...yTicks.map(({ value, text }) => {
      const at = px(y(value))
      const label = `<text class="tick" x="${left - 9}" y="${at + 4}" text-anchor="end">${text}</text>`
      return `<line class="grid" x1="${left}" x2="${right}" y1="${at}" y2="${at}"/>${label}`
    }),
    `<line class="axis" x1="${left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`,
    ...below,
    `<text x="${(left + right) / 2}" y="${bottom + 42}" text-anchor="middle">${escapeText(xLabel)}</text>`,
    `<text transform="translate(20 ${px((bottom + top) / 2)}) rotate(-90)" text-anchor="middle">${escapeText(yLabel)}</text>`,
  ]
}
