import { type Chart, titleMark } from "./chart.ts"
import { inkOn } from "./color.ts"
import { lengthText } from "./format.ts"
import { escapeText, px } from "./markup.ts"

/** A cell of a heatmap. */
export interface HeatCell {
  readonly length: number
  readonly depth: number
  /** Missing where nothing has a score. */
  readonly value?: number
  /** What stands in it. */
  readonly text: string
  /** All of it, in words. */
  readonly words: string
}

export interface Heatmap {
  readonly name: string
  readonly title: string
  readonly task: string
  readonly lengths: readonly number[]
  readonly depths: readonly number[]
  readonly cells: readonly HeatCell[]
  readonly color: (value: number) => string
  /** The legend's ends and their texts, from left to right. */
  readonly ends: readonly [low: number, high: number]
  readonly write: (value: number) => string
}

const LEFT = 62
const TOP = 46
const CELL_HEIGHT = 28
const NARROWEST = 46
const WIDEST = 62
/** What the cells take together, where they are neither too narrow nor too wide for it. */
const MAP_WIDTH = 414
const LEAST_WIDTH = 340
const RIGHT = 18
const BOTTOM = 96
const LEGEND_STEPS = 40
const LEGEND_WIDTH = 160

/**
 * A chart of a number by length and depth, a cell each. In a page the cells are buttons that carry `data-task`, `data-length` and
 * `data-depth`.
 */
export function heatmap(map: Heatmap): Chart {
  const { name, title, lengths, depths } = map
  const wide = Math.max(NARROWEST, Math.min(WIDEST, Math.floor(MAP_WIDTH / lengths.length)))
  const width = Math.max(LEAST_WIDTH, LEFT + lengths.length * wide + RIGHT)
  const bottom = TOP + depths.length * CELL_HEIGHT
  const center = px(LEFT + (lengths.length * wide) / 2)
  const marks = [
    titleMark(title, width),
    ...depths.map((depth, i) => {
      const y = TOP + i * CELL_HEIGHT + CELL_HEIGHT / 2 + 4
      return `<text class="tick" x="${LEFT - 8}" y="${y}" text-anchor="end">${px(depth)}</text>`
    }),
    ...lengths.map((length, i) => {
      const x = LEFT + (i + 0.5) * wide
      return `<text class="tick" x="${px(x)}" y="${bottom + 18}" text-anchor="middle">${lengthText(length)}</text>`
    }),
    `<text x="${center}" y="${bottom + 38}" text-anchor="middle">length, tokens</text>`,
    `<text transform="translate(20 ${px((TOP + bottom) / 2)}) rotate(-90)" text-anchor="middle">depth, %</text>`,
    ...map.cells.map((cell) => cellMark(map, cell, wide)),
    ...legendMarks(map, bottom + 58),
  ]
  return { name, title, width, height: bottom + BOTTOM, marks, choosable: true }
}

function cellMark({ task, lengths, depths, color }: Heatmap, cell: HeatCell, wide: number): string {
  const { length, depth, value, text, words } = cell
  const [x, y] = [LEFT + lengths.indexOf(length) * wide, TOP + depths.indexOf(depth) * CELL_HEIGHT]
  const fill = value === undefined ? "" : color(value)
  const place = `data-task="${escapeText(task)}" data-length="${length}" data-depth="${depth}"`
  const box = `x="${x + 1}" y="${y + 1}" width="${wide - 2}" height="${CELL_HEIGHT - 2}" rx="3"`
  const at = `x="${x + wide / 2}" y="${y + CELL_HEIGHT / 2 + 4.5}"`
  return [
    `<g class="cell" ${place}><title>${escapeText(words)}</title>`,
    value === undefined ? `<rect class="none" ${box}/>` : `<rect ${box} fill="${fill}"/>`,
    `<text ${at}${value === undefined ? "" : ` class="${inkOn(fill)}"`}>${text}</text></g>`,
  ].join("")
}

function legendMarks({ ends: [low, high], color, write }: Heatmap, y: number): string[] {
  const step = LEGEND_WIDTH / LEGEND_STEPS
  const x = LEFT + 1
  const swatches = Array.from({ length: LEGEND_STEPS }, (_, i) => {
    const value = low + ((high - low) * (i + 0.5)) / LEGEND_STEPS
    return `<rect x="${px(x + i * step)}" y="${y}" width="${step + 0.5}" height="8" fill="${color(value)}"/>`
  })
  const text = (at: number, value: number) =>
    `<text class="tick" x="${at}" y="${y + 23}" text-anchor="middle">${write(value)}</text>`
  return [...swatches, text(x, low), text(x + LEGEND_WIDTH / 2, (low + high) / 2), text(x + LEGEND_WIDTH, high)]
}
