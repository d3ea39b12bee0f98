import { scaleLinear, scaleLog } from "d3-scale"
import { area, line } from "d3-shape"
import type { BaselineScores } from "../results.ts"
import type { PlaceScores, TaskScores } from "./aggregate.ts"
import { type Axes, axes, type Chart, type LegendEntry, legend, point, seriesMark, titleMark } from "./chart.ts"
import { estimateText, lengthText, tokensText } from "./format.ts"
import { px } from "./markup.ts"
import { scoreRange } from "./range.ts"

interface Point {
  readonly x: number
  readonly y: number
  readonly low: number
  readonly high: number
  readonly words: string
}

const WIDTH = 560
const LEFT = 66
const RIGHT = 22
const PLOT_HEIGHT = 236
const BASELINES: readonly (readonly [keyof BaselineScores, string, string])[] = [
  ["empty", "no answer", "2 4"],
  ["echo", "the prompt as the answer", "7 4"],
  ["random", "a random answer", "10 3 2 3"],
]

/** Mean scores of each run by length with their intervals, and what answers that need no model score; undefined for a task without lengths. */
export function lengthChart(task: TaskScores, names: readonly string[]): Chart | undefined {
  const series = task.runs.map((run) => run.byLength.flatMap(pointOf))
  if (task.lengths.length === 0 || series.every((points) => points.length === 0)) return undefined
  const lines = baselineLines(task)
  const { marks: entries, bottom } = legend(
    [...names.flatMap((name, i) => (series[i]!.length > 0 ? [runEntry(name, i)] : [])), ...lines.map(baselineEntry)],
    WIDTH,
  )
  const scales = scalesOf(task, bottom + 20)
  const title = `${task.facts.name}: ${task.facts.metric} by length`
  return {
    name: `${task.facts.name}-by-length`,
    title,
    width: WIDTH,
    height: scales.y.range()[0]! + 56,
    marks: [
      titleMark(title, WIDTH),
      ...entries,
      ...axes(scales),
      ...lines.map(({ dash, points }) =>
        path(points, scales, `class="baseline" fill="none" stroke-dasharray="${dash}"`),
      ),
      ...series.flatMap((points, i) => runMarks(points, scales, i)),
    ],
  }
}

/** The words that belong to a run's colour and form. */
export function runEntry(name: string, run: number): LegendEntry {
  return { name, swatch: `<path d="M0,0h24" ${seriesMark("line", run)}/>${point(12, 0, run)}` }
}

function baselineEntry({ name, dash }: { name: string; dash: string }): LegendEntry {
  return { name, swatch: `<path d="M0,0h24" class="baseline" fill="none" stroke-dasharray="${dash}"/>` }
}

function pointOf({ length, estimate }: PlaceScores): Point[] {
  if (!estimate || length === undefined) return []
  const [low, high] = estimate.interval ?? [estimate.mean, estimate.mean]
  const words = `${tokensText(length)}: ${estimateText(estimate)}, ${estimate.count} instances`
  return [{ x: length, y: estimate.mean, low, high, words }]
}

/** The first run's that has some: they are the same for all that answer the same prompts. */
function baselineLines({ runs }: TaskScores) {
  const places = runs.find(({ all }) => all.baselines)?.byLength ?? []
  return BASELINES.flatMap(([key, name, dash]) => {
    const points = places.flatMap(({ length, baselines }) =>
      length !== undefined && baselines && Number.isFinite(baselines[key]) ? [{ x: length, y: baselines[key] }] : [],
    )
    return points.length === 0 ? [] : [{ name, dash, points }]
  })
}

function scalesOf(task: TaskScores, top: number): Axes {
  const { lengths, facts } = task
  const [shortest, longest] = [lengths[0]!, lengths.at(-1)!]
  const around = shortest === longest ? [shortest / 2, longest * 2] : [shortest, longest]
  const x = scaleLog(around, [LEFT + 14, WIDTH - RIGHT - 14]).base(2)
  const y = scaleLinear(scoreRange(task), [top + PLOT_HEIGHT, top])
  return {
    x,
    y,
    left: LEFT,
    right: WIDTH - RIGHT,
    xTicks: lengths.map((value) => ({ value, text: lengthText(value) })),
    yTicks: y.ticks(6).map((value) => ({ value, text: y.tickFormat(6)(value) })),
    xLabel: "length, tokens",
    yLabel: facts.metric,
  }
}

function runMarks(points: readonly Point[], scales: Axes, run: number): string[] {
  if (points.length === 0) return []
  const { x, y } = scales
  const band = area<Point>(
    (each) => x(each.x),
    ({ low }) => y(low),
    ({ high }) => y(high),
  ).digits(1)(points)
  return [
    points.length > 1 ? `<path d="${band}" ${seriesMark("band", run)}/>` : "",
    ...points.map((each) => bar(each, scales, run)),
    path(points, scales, seriesMark("line", run)),
    ...points.map((each) => point(x(each.x), y(each.y), run, each.words)),
  ]
}

/** An interval, beside those of other runs at the same length. */
function bar({ x: at, low, high }: Point, { x, y }: Axes, run: number): string {
  const middle = px(x(at))
  const ends = [low, high].map((value) => `M${middle - 4},${px(y(value))}h8`).join("")
  return low === high
    ? ""
    : `<path d="M${middle},${px(y(low))}V${px(y(high))}${ends}" fill="none" ${seriesMark("bar", run)}/>`
}

function path(points: readonly { x: number; y: number }[], { x, y }: Axes, attributes: string): string {
  const d = line<{ x: number; y: number }>(
    (each) => x(each.x),
    (each) => y(each.y),
  ).digits(1)(points as { x: number; y: number }[])
  return `<path d="${d}" ${attributes}/>`
}
