import type { PlaceScores, TaskScores } from "./aggregate.ts"
import type { Chart } from "./chart.ts"
import { differenceColors, scoreColors } from "./color.ts"
import type { Comparison } from "./compare.ts"
import { differenceText, estimateText, short, signed, tokensText } from "./format.ts"
import { type HeatCell, heatmap } from "./heatmap.ts"
import { lengthChart } from "./length_chart.ts"
import { positionChart } from "./position_chart.ts"
import { cellRange } from "./range.ts"

/** All charts of a task: scores by length, losses by position, a heatmap of each run, and one of each difference from the first run. */
export function chartsOf(task: TaskScores, names: readonly string[], comparisons: readonly Comparison[]): Chart[] {
  const own = comparisons.filter((each) => each.task === task.facts.name)
  const lines = [lengthChart(task, names), positionChart(task, names)].flatMap((chart) => (chart ? [chart] : []))
  if (task.depths.length === 0) return lines
  return [...lines, ...scoreMaps(task, names), ...own.map((each) => differenceMap(task, names, each))]
}

function scoreMaps(task: TaskScores, names: readonly string[]): Chart[] {
  const { name, metric, better } = task.facts
  const [least, most] = cellRange(task)
  const color = better === "higher" ? scoreColors(least, most) : scoreColors(most, least)
  return task.runs.flatMap(({ byPlace }, i) => {
    if (byPlace.length === 0) return []
    const title = names.length > 1 ? `${name}: ${metric}, ${names[i]}` : `${name}: ${metric}`
    const cells = byPlace.map(scoreCell)
    return [
      heatmap({ ...grid(task), name: `${name}-map-${i + 1}`, title, cells, color, ends: [least, most], write: short }),
    ]
  })
}

function differenceMap(task: TaskScores, names: readonly string[], { run, byPlace }: Comparison): Chart {
  const { name, better } = task.facts
  const largest = byPlace.reduce((most, { mean }) => Math.max(most, Math.abs(mean)), 0) || 1
  const write = (value: number) => signed(value, short)
  const cells = byPlace.map(({ length, depth, count, ...found }): HeatCell => {
    const words = `${placeText(length, depth)}: ${differenceText({ count, ...found })}, ${instancesText(count)} of both`
    return { length: length!, depth: depth!, value: found.mean, text: write(found.mean), words }
  })
  return heatmap({
    ...grid(task),
    name: `${name}-difference-${run}`,
    title: `${name}: ${names[run]} − ${names[0]}`,
    cells,
    color: differenceColors(largest, better),
    ends: [-largest, largest],
    write,
  })
}

function grid({ facts, lengths, depths }: TaskScores) {
  return { task: facts.name, lengths, depths }
}

function scoreCell({ length, depth, estimate, troubles }: PlaceScores): HeatCell {
  const at = { length: length!, depth: depth! }
  const place = placeText(length, depth)
  const failed = troubles > 0 ? `${instancesText(troubles)} could not be run` : ""
  if (!estimate) return { ...at, text: "×", words: `${place}: ${failed}` }
  const words = [`${place}: ${estimateText(estimate)}`, instancesText(estimate.count), failed]
    .filter(Boolean)
    .join(", ")
  return { ...at, value: estimate.mean, text: short(estimate.mean), words }
}

/** `4,096 tokens, depth 50 %`. */
export function placeText(length: number | undefined, depth: number | undefined): string {
  const parts = [length === undefined ? "" : tokensText(length), depth === undefined ? "" : `depth ${depth} %`]
  return parts.filter(Boolean).join(", ")
}

export function instancesText(count: number): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? "instance" : "instances"}`
}
