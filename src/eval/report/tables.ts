import type { PlaceScores, TaskScores } from "./aggregate.ts"
import { instancesText } from "./charts.ts"
import { BEYOND_CHANCE, type Comparison } from "./compare.ts"
import { countText, estimateText, exact, intervalText, metricText, pText, signed } from "./format.ts"
import { escapeText } from "./markup.ts"
import type { Estimate } from "./statistics.ts"

/** A cell of a table: markup, and what it is sorted by where that is not its text. */
interface Cell {
  readonly html: string
  readonly value?: number | string
}

/** A table in a frame that scrolls, with a button on each column to sort by it. */
function table(caption: string, head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const label = escapeText(caption)
  const headers = head.map(
    (each) => `<th scope="col"><button type="button" class="sort">${escapeText(each)}</button></th>`,
  )
  const cell = ({ html, value }: Cell) =>
    `<td${value === undefined ? "" : ` data-value="${escapeText(String(value))}"`}>${html}</td>`
  return [
    `<div class="scroll" tabindex="0" role="region" aria-label="${label}"><table><thead><tr>${headers.join("")}</tr></thead><tbody>`,
    ...rows.map((row) => `<tr>${row.map(cell).join("")}</tr>`),
    "</tbody></table></div>",
  ].join("\n")
}

/** A row for each task: its scores in each run, and how far they are from the first run's. */
export function overviewTable(
  tasks: readonly TaskScores[],
  names: readonly string[],
  comparisons: readonly Comparison[],
): string {
  const others = names.slice(1)
  const head = ["Task", "Metric", ...names, ...others.map((name) => `${name} − ${names[0]}`), "Without a model"]
  const rows = tasks.map((task) => {
    const { name } = task.facts
    const found = others.map((_, i) => comparisons.find((each) => each.task === name && each.run === i + 1))
    return [
      { html: `<a href="#${anchor(name)}">${escapeText(name)}</a>`, value: name },
      { html: escapeText(metricText(task.facts)) },
      ...task.runs.map(({ all }) => scoreCell(all)),
      ...found.map((each) => comparisonCell(task, each)),
      baselineCell(task),
    ]
  })
  return table("Scores of all tasks", head, rows)
}

/** A row for each length of a task. */
export function lengthTable(task: TaskScores, names: readonly string[], comparisons: readonly Comparison[]): string {
  const own = comparisons.filter((each) => each.task === task.facts.name)
  const head = ["Length", ...names, ...own.map(({ run }) => `${names[run]} − ${names[0]}`)]
  const rows = task.lengths.map((length) => [
    { html: opener(task.facts.name, countText(length), length), value: length },
    ...task.runs.map(({ byLength }) => scoreCell(byLength.find((place) => place.length === length))),
    ...own.map(({ byLength }) => differenceCell(byLength.find((place) => place.length === length))),
  ])
  return table(`${task.facts.name} by length`, head, rows)
}

/** A row for each bucket of positions. */
export function positionTable(task: TaskScores, names: readonly string[]): string {
  const buckets = new Map(task.runs.flatMap(({ positions }) => positions.map((each) => [each.from, each.to])))
  const rows = [...buckets]
    .sort(([a], [b]) => a - b)
    .map(([from, to]) => [
      { html: `${countText(from)} to ${countText(to - 1)}`, value: from },
      ...task.runs.map(({ positions }) => {
        const found = positions.find((each) => each.from === from)
        return found ? estimateCell(found.estimate, `${countText(found.tokens)} tokens`) : { html: "–", value: "" }
      }),
    ])
  return table(`${task.facts.name}: loss by position`, ["Positions", ...names], rows)
}

/** A button that opens the instances of a task, or of one of its lengths. */
export function opener(task: string, text: string, length?: number): string {
  const at = length === undefined ? "" : ` data-length="${length}"`
  return `<button type="button" class="link" data-task="${escapeText(task)}"${at}>${escapeText(text)}</button>`
}

/** Where a task's part of a page is: fit for an id and a link to it. */
export function anchor(task: string): string {
  return `task-${task.replace(/[^\w-]/g, "_")}`
}

function scoreCell(place: PlaceScores | undefined): Cell {
  const failed = place?.troubles ? `${countText(place.troubles)} could not be run` : ""
  if (!place?.estimate) return { html: `–<small>${failed}</small>`, value: "" }
  return estimateCell(place.estimate, [instancesText(place.estimate.count), failed].filter(Boolean).join(", "))
}

function estimateCell(estimate: Estimate, more: string): Cell {
  return { html: `${estimateText(estimate)}<small>${more}</small>`, value: estimate.mean }
}

function differenceCell(found: Estimate | undefined): Cell {
  if (!found) return { html: "–", value: "" }
  const by = (value: number) => signed(value, exact)
  const interval = found.interval ? `<small>${intervalText(found.interval, by)}</small>` : ""
  return { html: `${by(found.mean)}${interval}`, value: found.mean }
}

function comparisonCell({ facts }: TaskScores, found: Comparison | undefined): Cell {
  if (!found) return { html: "–<small>no instance in both</small>", value: "" }
  const { html, value } = differenceCell(found.all)
  const verdict = verdictOf(facts.better, found)
  const p = `p ${found.adjustedP < 0.001 ? "" : "= "}${pText(found.adjustedP)}`
  return { html: `${html} <span class="badge ${verdict}">${verdict}</span><small>${escapeText(p)}</small>`, value }
}

export type Verdict = "better" | "worse" | "within chance"

/** Whether a run is beyond chance from the first. */
export function verdictOf(better: "higher" | "lower", { all, adjustedP }: Comparison): Verdict {
  if (adjustedP >= BEYOND_CHANCE || all.mean === 0) return "within chance"
  return all.mean > 0 === (better === "higher") ? "better" : "worse"
}

function baselineCell({ runs }: TaskScores): Cell {
  const found = runs.find(({ all }) => all.baselines)?.all.baselines
  if (!found) return { html: "–", value: "" }
  const each = (["empty", "echo", "random"] as const).filter((key) => Number.isFinite(found[key]))
  return { html: each.map((key) => `${key} ${exact(found[key])}`).join("<br>"), value: found.random }
}
