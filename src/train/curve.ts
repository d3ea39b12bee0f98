import { line } from "d3-shape"
import { formatTick, linearScale, niceScale, type Scale, ticksOf } from "./scale.ts"

export interface LossPoint {
  readonly step: number
  readonly loss: number
}

/** A named line, as of another run. */
export interface LossSeries {
  readonly name: string
  readonly points: readonly LossPoint[]
}

export interface LossCurve {
  readonly title: string
  /** One loss per step: drawn thin, with its mean over neighbouring steps drawn bold. */
  readonly training?: readonly LossPoint[]
  /** Drawn with a mark at each point. */
  readonly heldOut?: readonly LossPoint[]
  /** Further lines: those of many points are drawn as `training` is, those of few as `heldOut` is. */
  readonly others?: readonly LossSeries[]
}

interface Drawn extends LossSeries {
  readonly color: string
  readonly dense: boolean
  /** What is drawn bold. */
  readonly bold: readonly LossPoint[]
}

const WIDTH = 900
const HEIGHT = 540
const LEFT = 72
const RIGHT = 36
const BOTTOM = 62
const LEGEND_TOP = 66
const LEGEND_LINE = 22
/** A little wider than the font's mean, as no one can measure text here. */
const LETTER = 6.9
const SWATCH = 26
const GAP = 26
/** Points from which a line without marks reads better. */
const DENSE = 60
const TRAINING = "#2563eb"
const HELD_OUT = "#ea580c"
const OTHERS = ["#059669", "#7c3aed", "#ca8a04", "#db2777", "#0891b2", "#65a30d", "#475569"]

const STYLE = `
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #64748b; font-size: 13px }
.title { fill: #0f172a; font-size: 19px; font-weight: 600 }
.name { fill: #334155 }
.value { fill: #94a3b8; font-variant-numeric: tabular-nums }
.tick { font-size: 12px; font-variant-numeric: tabular-nums }
.grid line { stroke: #e8edf3 }
.axis { stroke: #94a3b8 }
path { fill: none; stroke-linejoin: round; stroke-linecap: round }`

/**
 * A chart of losses as a self-contained SVG. Its panel is white, so that it reads on pages of any colour. Losses that are
 * not finite are left out.
 */
export function lossCurveSvg({ title, training = [], heldOut = [], others = [] }: LossCurve): string {
  const series = [
    { name: "training", points: training, color: TRAINING, dense: true },
    { name: "held-out", points: heldOut, color: HELD_OUT, dense: false },
    ...others.map(({ name, points }, i) => {
      return { name, points, color: OTHERS[i % OTHERS.length]!, dense: points.length > DENSE }
    }),
  ]
  const drawn = series.map(prepared).filter(({ points }) => points.length > 0)
  const dense = drawn.filter(({ dense }) => dense)
  const { marks, bottom } = legend(drawn)
  const all = drawn.flatMap(({ points }) => points)
  const steps = all.map(({ step }) => step)
  const x = scaleOf(beginningAtZero(steps), LEFT, WIDTH - RIGHT)
  const losses = all.map(({ loss }) => loss)
  const y = niceScale(scaleOf(losses, HEIGHT - BOTTOM, bottom + 22), 12)
  const name = escapeText(title)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${name}">`,
    `<style>${STYLE}\n</style>`,
    `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${HEIGHT - 1}" rx="10" fill="#ffffff" stroke="#e2e8f0"/>`,
    `<text class="title" x="${LEFT - 40}" y="40">${name}</text>`,
    ...marks,
    ...axes(x, y),
    ...dense.map((each) => thinPath(each, x, y, dense.length === 1 ? 0.4 : 0.15)),
    ...drawn.flatMap((each) => boldMarks(each, x, y)),
    "</svg>\n",
  ].join("\n")
}

function prepared(series: Omit<Drawn, "bold">): Drawn {
  const points = series.points.filter(({ step, loss }) => Number.isFinite(step) && Number.isFinite(loss)).sort(byStep)
  return { ...series, points, bold: series.dense ? smoothed(points) : points }
}

/** A run from its beginning is shown from step 0 on, though its first loss may be that of step 1. */
function beginningAtZero(steps: readonly number[]): readonly number[] {
  const [least, most] = [Math.min, Math.max].map((pick) => steps.reduce((a, b) => pick(a, b), steps[0] ?? 0))
  return least! > 0 && least! < most! / 20 ? [0, ...steps] : steps
}

/** A scale over all values, with room around a single one. */
function scaleOf(values: readonly number[], from: number, to: number): Scale {
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  for (const value of values) {
    least = Math.min(least, value)
    most = Math.max(most, value)
  }
  if (values.length === 0) [least, most] = [0, 1]
  const room = most > least ? 0 : Math.max(1e-3, Math.abs(most) * 0.1)
  return linearScale([least - room, most + room], [from, to])
}

/** Names with their colours and the bold lines' last values, in as many lines as they need. */
function legend(drawn: readonly Drawn[]): { marks: string[]; bottom: number } {
  const marks: string[] = []
  let x = LEFT - 40
  let y = LEGEND_TOP
  for (const { name, bold, color, dense } of drawn) {
    const value = bold.at(-1)!.loss.toPrecision(4)
    const label = name.length > 60 ? `${name.slice(0, 59)}…` : name
    const width = SWATCH + LETTER * (label.length + 1 + value.length)
    if (x > LEFT && x + width > WIDTH - RIGHT) {
      x = LEFT - 40
      y += LEGEND_LINE
    }
    marks.push(`<path d="M${x},${y - 4.5}h18" stroke="${color}" stroke-width="2.5"/>`)
    if (!dense) marks.push(mark(x + 9, y - 4.5, color))
    const text = `<tspan class="name">${escapeText(label)}</tspan> <tspan class="value">${value}</tspan>`
    marks.push(`<text x="${x + SWATCH}" y="${y}">${text}</text>`)
    x += round(width + GAP)
  }
  return { marks, bottom: y }
}

function axes(x: Scale, y: Scale): string[] {
  const [left, right] = x.range
  const [bottom, top] = y.range
  const rows = ticksOf(y, 6).map((value) => ({ at: round(y.at(value)), text: formatTick(y, 6, value) }))
  const steps = ticksOf(x, 8).filter(Number.isInteger)
  const columns = steps.map((value) => ({ at: round(x.at(value)), text: value.toLocaleString("en") }))
  return [
    '<g class="grid">',
    ...rows.map(({ at }) => `<line x1="${left}" x2="${right}" y1="${at}" y2="${at}"/>`),
    "</g>",
    ...rows.map(({ at, text }) => `<text class="tick" x="${left - 10}" y="${at + 4}" text-anchor="end">${text}</text>`),
    `<line class="axis" x1="${left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`,
    ...columns.map(({ at }) => `<line class="axis" x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 5}"/>`),
    ...columns.map(
      ({ at, text }) => `<text class="tick" x="${at}" y="${bottom + 20}" text-anchor="middle">${text}</text>`,
    ),
    `<text x="${(left + right) / 2}" y="${HEIGHT - 16}" text-anchor="middle">step</text>`,
    `<text transform="translate(22 ${round((bottom + top) / 2)}) rotate(-90)" text-anchor="middle">loss, nats per token</text>`,
  ]
}

function thinPath({ points, color }: Drawn, x: Scale, y: Scale, opacity: number): string {
  return path(extremes(points, x), x, y, `stroke="${color}" stroke-width="1" stroke-opacity="${opacity}"`)
}

function boldMarks({ bold, color, dense }: Drawn, x: Scale, y: Scale): string[] {
  const shown = path(dense ? thinned(bold, x) : bold, x, y, `stroke="${color}" stroke-width="2.25"`)
  const marked = dense && bold.length > 1 ? [] : bold
  return [shown, ...marked.map(({ step, loss }) => mark(round(x.at(step)), round(y.at(loss)), color))]
}

function path(points: readonly LossPoint[], x: Scale, y: Scale, style: string): string {
  const draw = line<LossPoint>(
    ({ step }) => x.at(step),
    ({ loss }) => y.at(loss),
  ).digits(1)
  return `<path d="${draw(points)}" ${style}/>`
}

function mark(x: number, y: number, color: string): string {
  return `<circle cx="${x}" cy="${y}" r="3.5" fill="${color}" stroke="#ffffff" stroke-width="1.5"/>`
}

/**
 * Each point's mean with its neighbours, a fiftieth of all on either side. At the beginning, where losses fall fast, as
 * many on both sides as there are before it; at the end what there is.
 */
function smoothed(points: readonly LossPoint[]): LossPoint[] {
  const sums = [0]
  for (const { loss } of points) sums.push(sums.at(-1)! + loss)
  const reach = Math.ceil(points.length / 50)
  return points.map(({ step }, i) => {
    const first = Math.max(0, i - reach)
    const end = Math.min(points.length, i + Math.min(reach, i) + 1)
    return { step, loss: (sums[end]! - sums[first]!) / (end - first) }
  })
}

/** One point for each column of pixels, the first and last in any case. */
function thinned(points: readonly LossPoint[], x: Scale): LossPoint[] {
  return points.filter(({ step }, i) => {
    const before = points[i - 1]
    return !before || i === points.length - 1 || Math.floor(x.at(before.step)) !== Math.floor(x.at(step))
  })
}

/** The lowest and the highest point of each column of pixels, so that a long run is no long file and looks the same. */
function extremes(points: readonly LossPoint[], x: Scale): LossPoint[] {
  const columns = new Map<number, LossPoint[]>()
  for (const point of points) {
    const column = Math.floor(x.at(point.step))
    const [low = point, high = point] = columns.get(column) ?? []
    columns.set(column, [point.loss < low.loss ? point : low, point.loss > high.loss ? point : high])
  }
  return [...columns.values()].flatMap(([low, high]) => (low === high ? [low!] : [low!, high!].sort(byStep)))
}

function byStep(a: LossPoint, b: LossPoint): number {
  return a.step - b.step
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" }

/** Text for XML, without the control characters that it cannot hold. */
function escapeText(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Surrogate}\ufffe\uffff]/gu, " ")
    .replace(/[&<>"']/g, (character) => ENTITIES[character]!)
}
