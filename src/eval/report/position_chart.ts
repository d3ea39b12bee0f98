import { scaleLinear, scaleLog } from "d3-scale"
import { area, line } from "d3-shape"
import { middleOf } from "../score/positions.ts"
import type { PowerLaw } from "../score/power_law.ts"
import type { PositionScores, RunScores, TaskScores } from "./aggregate.ts"
import { type Axes, axes, type Chart, legend, point, seriesMark, titleMark } from "./chart.ts"
import { countText, estimateText, lengthText, short } from "./format.ts"
import { runEntry } from "./length_chart.ts"
import { widened } from "./range.ts"

const WIDTH = 560
const LEFT = 66
const RIGHT = 22
const PLOT_HEIGHT = 236
/** Points that a curve is drawn through. */
const CURVE_POINTS = 60

/** Mean losses of each run by position in the text, with their intervals and power laws; undefined without such losses. */
export function positionChart(task: TaskScores, names: readonly string[]): Chart | undefined {
  if (task.runs.every(({ positions }) => positions.length === 0)) return undefined
  const entries = task.runs.flatMap((run, i) => (run.positions.length > 0 ? entriesOf(run, names[i]!, i) : []))
  const { marks, bottom } = legend(entries, WIDTH)
  const scales = scalesOf(task, bottom + 20)
  const title = `${task.facts.name}: loss by position`
  return {
    name: `${task.facts.name}-by-position`,
    title,
    width: WIDTH,
    height: scales.y.range()[0]! + 56,
    marks: [
      titleMark(title, WIDTH),
      ...marks,
      ...axes(scales),
      ...task.runs.flatMap((run, i) => runMarks(run, scales, i)),
    ],
  }
}

/** `3.2 x^−0.41 + 1.9`. */
export function powerLawText({ alpha, beta, gamma }: PowerLaw): string {
  const number = (value: number) => `${value < 0 ? "−" : ""}${short(Math.abs(value))}`
  return `${number(alpha)} x^${number(beta)} ${gamma < 0 ? "−" : "+"} ${short(Math.abs(gamma))}`
}

function entriesOf({ fit }: RunScores, name: string, run: number) {
  const law = fit && { name: `L(x) = ${powerLawText(fit)}`, swatch: `<path d="M0,0h24" ${seriesMark("fit", run)}/>` }
  return [runEntry(name, run), ...(law ? [law] : [])]
}

function scalesOf({ runs }: TaskScores, top: number): Axes {
  const all = runs.flatMap(({ positions }) => positions)
  const places = all.map(middleOf)
  const [first, last] = widened(places)
  const x = scaleLog([Math.max(0.5, first), last], [LEFT + 12, WIDTH - RIGHT - 12]).base(2)
  const losses = all.flatMap(({ estimate }) => [estimate.mean, ...(estimate.interval ?? [])])
  const y = scaleLinear(widened(losses), [top + PLOT_HEIGHT, top]).nice(6)
  const powers = Array.from({ length: 31 }, (_, i) => 2 ** i).filter(
    (value) => value >= x.domain()[0]! && value <= last,
  )
  return {
    x,
    y,
    left: LEFT,
    right: WIDTH - RIGHT,
    xTicks: powers.map((value) => ({ value, text: lengthText(value) })),
    yTicks: y.ticks(6).map((value) => ({ value, text: y.tickFormat(6)(value) })),
    xLabel: "position, tokens",
    yLabel: "loss, nats per token",
  }
}

function runMarks({ positions, fit }: RunScores, { x, y }: Axes, run: number): string[] {
  if (positions.length === 0) return []
  const at = (each: PositionScores) => x(middleOf(each))
  const interval = ({ estimate: { mean, interval } }: PositionScores) => interval ?? [mean, mean]
  const band = area<PositionScores>(
    at,
    (each) => y(interval(each)[0]),
    (each) => y(interval(each)[1]),
  ).digits(1)
  const through = line<PositionScores>(at, ({ estimate }) => y(estimate.mean)).digits(1)
  return [
    `<path d="${band(positions as PositionScores[])}" ${seriesMark("band", run)}/>`,
    fit ? `<path d="${fitPath(fit, { x, y })}" ${seriesMark("fit", run)}/>` : "",
    fit ? "" : `<path d="${through(positions as PositionScores[])}" ${seriesMark("line", run)}/>`,
    ...positions.map((each) => point(at(each), y(each.estimate.mean), run, wordsOf(each))),
  ]
}

function fitPath({ alpha, beta, gamma }: PowerLaw, { x, y }: Pick<Axes, "x" | "y">): string {
  const [from, to] = x.range() as [number, number]
  const columns = Array.from({ length: CURVE_POINTS }, (_, i) => from + ((to - from) * i) / (CURVE_POINTS - 1))
  const draw = line<number>(
    (column) => column,
    (column) => y(alpha * x.invert(column) ** beta + gamma),
  ).digits(1)
  return draw(columns)!
}

function wordsOf({ from, to, tokens, estimate }: PositionScores): string {
  return `positions ${countText(from)} to ${countText(to - 1)}: ${estimateText(estimate)}, ${countText(tokens)} tokens`
}
