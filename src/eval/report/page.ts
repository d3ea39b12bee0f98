import { sha256 } from "../../model/sha256.ts"
import type { ReadRun } from "../run_folder.ts"
import type { TaskScores } from "./aggregate.ts"
import { type Chart, inPage, point } from "./chart.ts"
import { instancesText } from "./charts.ts"
import { BEYOND_CHANCE, type Comparison } from "./compare.ts"
import type { DrillData } from "./drill_data.ts"
import { countText, exact, metricText } from "./format.ts"
import { escapeText, scriptJson } from "./markup.ts"
import { powerLawText } from "./position_chart.ts"
import { SCRIPT } from "./script.ts"
import { RESAMPLES, SIGN_DRAWS } from "./statistics.ts"
import { STYLE } from "./style.ts"
import { anchor, lengthTable, opener, overviewTable, positionTable, verdictOf } from "./tables.ts"

/** All that a page shows. */
export interface PageContent {
  readonly title: string
  readonly runs: readonly ReadRun[]
  readonly tasks: readonly TaskScores[]
  readonly comparisons: readonly Comparison[]
  readonly charts: ReadonlyMap<string, readonly Chart[]>
  readonly notes: readonly string[]
  readonly drill: DrillData
}

/**
 * A report as one file that asks nothing of any network: its policy allows its own script and style, by their hashes, and nothing else.
 * Texts of prompts and models are escaped where they are markup, and data where a script reads them.
 */
export async function htmlPage(content: PageContent): Promise<string> {
  const { title, runs, tasks, comparisons, drill } = content
  const names = runs.map(({ name }) => name)
  const policy = `default-src 'none'; script-src '${await integrity(SCRIPT)}'; style-src '${await integrity(STYLE)}'; img-src data:; base-uri 'none'; form-action 'none'`
  const better = Object.fromEntries(tasks.map(({ facts }) => [facts.name, facts.better]))
  return [
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">',
    `<title>${escapeText(title)}</title>\n<style>${STYLE}</style>\n</head>\n<body>`,
    `<header><h1>${escapeText(title)}</h1>`,
    `<p class="quiet">${escapeText(summaryOf(content))}</p></header>\n<main>`,
    `<section class="runs" aria-label="Runs">${runs.map((run, i) => runCard(run, i)).join("\n")}</section>`,
    `<section class="card"><h2>Scores</h2>${verdicts(content)}${overviewTable(tasks, names, comparisons)}</section>`,
    notesCard(content.notes),
    ...tasks.map((task) => taskCard(task, content)),
    `</main>\n<footer>${methods(runs.length > 1)}</footer>`,
    DIALOG,
    "<noscript><footer>Without scripts the instances behind the numbers cannot be opened.</footer></noscript>",
    `<script type="application/json" id="instances">${scriptJson({ runs: names, tasks: better, instances: drill.instances })}</script>`,
    ...drill.prompts.map(
      (prompt, i) => `<script type="application/json" id="prompt-${i}">${scriptJson(prompt)}</script>`,
    ),
    `<script type="module">${SCRIPT}</script>\n</body>\n</html>\n`,
  ].join("\n")
}

const DIALOG = `<dialog aria-labelledby="opened"><div class="bar"><h3 id="opened">Instances</h3><span class="quiet count"></span>
<label class="quiet">Order <select><option value="place">as asked</option><option value="worst">worst first</option>
<option value="apart">runs furthest apart first</option></select></label>
<button type="button" class="close">Close</button></div><div class="list" tabindex="0" role="region" aria-label="Instances"></div></dialog>`

/** What a policy calls a script or a style by. */
async function integrity(text: string): Promise<string> {
  const bytes = await sha256(new TextEncoder().encode(text))
  return `sha256-${btoa(String.fromCharCode(...bytes))}`
}

function summaryOf({ runs, tasks, drill }: PageContent): string {
  const counted = [`${tasks.length} ${tasks.length === 1 ? "task" : "tasks"}`, instancesText(drill.instances.length)]
  return [...counted, `${runs.length} ${runs.length === 1 ? "run" : "runs"}`].join(", ")
}

function runCard({ name, run, lines }: ReadRun, i: number): string {
  const { model, adapters, settings, seed, format } = run.identity
  const rows = [
    ["model", `${model?.name} (${String(model?.hash).slice(0, 12)})`],
    ...(adapters ? [["adapters", `${adapters.names?.join(", ")} (${String(adapters.hash).slice(0, 12)})`]] : []),
    ...Object.entries(settings ?? {}).map(([key, value]) => [
      key,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
    ["device", run.device],
    ["seed", `${seed}, prompts as ${format}`],
    ...Object.entries(run.data).map(([data, hash]) => [`data ${data}`, String(hash).slice(0, 12)]),
    ["started", `${run.started}, gemlet ${run.gemlet}`],
    ["instances", countText(lines.length)],
    ["run", run.id],
  ]
  const facts = rows.map(([key, value]) => `<dt>${escapeText(String(key))}</dt><dd>${escapeText(String(value))}</dd>`)
  const form = `<svg class="chart" width="20" height="16" viewBox="0 0 20 16" aria-hidden="true">${point(10, 8, i)}</svg>`
  return `<div class="card"><h3>${form}${escapeText(name)}</h3><dl>${facts.join("")}</dl></div>`
}

/** One sentence for each further run. */
function verdicts({ runs, tasks, comparisons }: PageContent): string {
  const sentences = runs.slice(1).map(({ name }, i) => {
    const found = comparisons.filter(({ run }) => run === i + 1)
    const count = (wanted: string) =>
      found.filter(
        (each) => verdictOf(tasks.find(({ facts }) => facts.name === each.task)!.facts.better, each) === wanted,
      ).length
    const of = `${found.length} ${found.length === 1 ? "task" : "tasks"} that both have`
    return `<p class="verdict"><b>${escapeText(name)}</b> against <b>${escapeText(runs[0]!.name)}</b>, beyond chance: better in ${count("better")}, worse in ${count("worse")} of ${of}.</p>`
  })
  return sentences.join("")
}

function notesCard(notes: readonly string[]): string {
  if (notes.length === 0) return ""
  const items = notes.map((note) => `<li>${escapeText(note)}</li>`).join("")
  return `<section class="card notes"><h2>To be known</h2><ul>${items}</ul></section>`
}

function taskCard(task: TaskScores, { runs, comparisons, charts, drill }: PageContent): string {
  const { facts, lengths } = task
  const names = runs.map(({ name }) => name)
  const count = drill.instances.filter((each) => each.task === facts.name).length
  const source = facts.source && `<p class="quiet">Source: ${escapeText(facts.source)}.</p>`
  const drawn = charts.get(facts.name) ?? []
  const maps = drawn.filter(({ choosable }) => choosable).map((chart) => `<figure>${inPage(chart)}</figure>`)
  const lines = drawn
    .filter(({ choosable }) => !choosable)
    .map((chart) => `<figure tabindex="0">${inPage(chart)}</figure>`)
  const positions = task.runs.some((run) => run.positions.length > 0)
  return [
    `<section class="card" id="${anchor(facts.name)}"><h2>${escapeText(facts.name)}</h2>`,
    `<p>${escapeText([facts.summary, metricText(facts)].filter(Boolean).join(" · "))}</p>${source}`,
    `<p>${opener(facts.name, count === 1 ? "Open its instance" : `Open all ${instancesText(count)}`)}</p>`,
    `<div class="pair">${lines.join("\n")}<div>`,
    lengths.length > 0 ? lengthTable(task, names, comparisons) : "",
    ...task.runs.map((run, i) => (run.fit ? fitLine(names[i]!, run.fit) : "")),
    positions ? `<details><summary>Losses by position</summary>${positionTable(task, names)}</details>` : "",
    partsList(task, names),
    "</div></div>",
    maps.length > 0 ? `<div class="maps">${maps.join("\n")}</div>` : "",
    "</section>",
  ].join("\n")
}

function fitLine(name: string, fit: NonNullable<TaskScores["runs"][number]["fit"]>): string {
  return `<p class="quiet">${escapeText(`${name}: loss at position x is about ${powerLawText(fit)}, R² ${exact(fit.r2)}`)}</p>`
}

function partsList({ runs }: TaskScores, names: readonly string[]): string {
  const lines = runs.flatMap(({ parts }, i) => {
    const all = Object.entries(parts).map(([key, value]) => `${key} ${exact(value)}`)
    return all.length > 0
      ? [`<p class="quiet">${escapeText(`${names[i]}, means of further numbers: ${all.join(", ")}`)}</p>`]
      : []
  })
  return lines.join("")
}

function methods(several: boolean): string {
  const paragraphs = [
    `Behind a mean stands its 95 % interval: a percentile bootstrap over instances with ${countText(RESAMPLES)} resamples (Efron and Tibshirani, An Introduction to the Bootstrap, 1993). Where all instances have the same score there is no spread to draw from, and no interval. Intervals of few instances are too narrow, and so are those of instances that share a text.`,
    several
      ? `A difference is the mean over the instances that both runs have, paired. Its p-value is that of a two-sided randomization test which flips the signs of the paired differences, all ways for up to 14 of them, else ${countText(SIGN_DRAWS)} drawn ones (Phipson and Smyth, 2010, doi:10.2202/1544-6115.1585), raised by Holm's method for all tasks and runs that are compared here (Holm, 1979). Below ${BEYOND_CHANCE} a run is called better or worse; else the difference is within chance. Differences by length and depth are shown without a test.`
      : "",
    "No answer, the prompt as the answer and a random answer are scored as the model's own are: what lies near them says little. Loss by position is fitted by α x^β + γ (Gemini Team, 2024, arXiv:2403.05530, 5.2.1.1).",
  ]
  return `<h2>How the numbers are made</h2>${paragraphs
    .filter(Boolean)
    .map((text) => `<p>${escapeText(text)}</p>`)
    .join("")}`
}
