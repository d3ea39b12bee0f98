import type { ReadRun } from "../run_folder.ts"
import { aggregate, type TaskFacts, type TaskScores } from "./aggregate.ts"
import { standalone } from "./chart.ts"
import { chartsOf } from "./charts.ts"
import { type Comparison, compare } from "./compare.ts"
import { differencesCsv, instancesCsv, positionsCsv, scoresCsv } from "./csv.ts"
import { drillData, type PromptDetail } from "./drill_data.ts"
import { notesOf } from "./notes.ts"
import { htmlPage } from "./page.ts"

export interface ReportOptions {
  /** Above everything; by default it names the models. */
  readonly title?: string
  /** Of resamples and signs. 0 by default: the same results give the same report. */
  readonly seed?: number
  /** `elided` by default: prompts of more than 32,000 characters are carried without their middles. */
  readonly prompts?: PromptDetail
}

/** A file of a report. */
export interface ReportFile {
  readonly name: string
  readonly text: string
}

/** What results say, as numbers and as files. */
export interface EvalReport {
  readonly tasks: readonly TaskScores[]
  /** Each further run beside the first. */
  readonly comparisons: readonly Comparison[]
  /** What a reader has to know: what is missing, where runs are not alike. */
  readonly notes: readonly string[]
  /** A self-contained page. */
  readonly html: string
  /** Each chart as an SVG. */
  readonly charts: readonly ReportFile[]
  /** `instances.csv`, `scores.csv`, and what there is of `positions.csv` and `differences.csv`. */
  readonly tables: readonly ReportFile[]
}

/**
 * Makes a report of one or more runs; the others are compared with the first.
 *
 * @param runs  as `readRun` gives them; their names are what the report calls them
 * @param tasks what is known of tasks, as `TASKS`; one that is not among them is taken for more-is-better
 * @throws {RangeError} without runs, for runs without results, and for two runs of the same name
 */
export async function evalReport(
  runs: readonly ReadRun[],
  tasks: readonly TaskFacts[],
  { title, seed = 0, prompts = "elided" }: ReportOptions = {},
): Promise<EvalReport> {
  const names = expectNames(runs)
  const scores = aggregate(runs, tasks, seed)
  const comparisons = compare(runs, scores, seed)
  const drill = drillData(runs, prompts)
  const notes = notesOf(runs, scores, drill, prompts)
  const charts = new Map(scores.map((task) => [task.facts.name, chartsOf(task, names, comparisons)]))
  const content = { title: title ?? titleOf(runs), runs, tasks: scores, comparisons, charts, notes, drill }
  return {
    tasks: scores,
    comparisons,
    notes,
    html: await htmlPage(content),
    charts: [...charts.values()]
      .flat()
      .map((chart) => ({ name: `${fileName(chart.name)}.svg`, text: standalone(chart) })),
    tables: tablesOf(runs, scores, names, comparisons),
  }
}

function expectNames(runs: readonly ReadRun[]): string[] {
  if (runs.length === 0) throw new RangeError("report: number of runs is 0, expected at least 1")
  const names = runs.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new RangeError(`report: ${twice} is there twice, expected runs of different names`)
  const empty = runs.find(({ lines }) => lines.length === 0)
  if (empty) throw new RangeError(`report: number of results of ${empty.name} is 0, expected at least 1`)
  return names
}

function titleOf(runs: readonly ReadRun[]): string {
  return `Evaluation of ${[...new Set(runs.map(({ run }) => run.identity.model?.name ?? "a model"))].join(" and ")}`
}

function tablesOf(
  runs: readonly ReadRun[],
  tasks: readonly TaskScores[],
  names: readonly string[],
  comparisons: readonly Comparison[],
): ReportFile[] {
  const withPositions = tasks.some(({ runs }) => runs.some(({ positions }) => positions.length > 0))
  return [
    { name: "instances.csv", text: instancesCsv(runs) },
    { name: "scores.csv", text: scoresCsv(tasks, names) },
    ...(withPositions ? [{ name: "positions.csv", text: positionsCsv(tasks, names) }] : []),
    ...(runs.length > 1 ? [{ name: "differences.csv", text: differencesCsv(comparisons, names) }] : []),
  ]
}

/** A task's name is whoever's made its file. */
function fileName(name: string): string {
  return name.replace(/[^\w.-]+/g, "_").replace(/^\.+/, "")
}
