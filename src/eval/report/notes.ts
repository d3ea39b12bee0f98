import type { ReadRun } from "../run_folder.ts"
import type { TaskScores } from "./aggregate.ts"
import { instancesText } from "./charts.ts"
import { CARRIED, type DrillData, type PromptDetail } from "./drill_data.ts"
import { countText, cut } from "./format.ts"

/** What a reader has to know before trusting the numbers: what is missing, and where runs are not alike. Plain text. */
export function notesOf(
  runs: readonly ReadRun[],
  tasks: readonly TaskScores[],
  drill: DrillData,
  detail: PromptDetail,
): string[] {
  return [
    ...runs.flatMap(({ notes }) => notes),
    ...troubleNotes(runs, tasks),
    ...(runs.length > 1 ? comparisonNotes(runs, drill) : []),
    ...promptNotes(runs, drill, detail),
  ]
}

/** Troubles of the same words are told once, with the tasks that have them. */
function troubleNotes(runs: readonly ReadRun[], tasks: readonly TaskScores[]): string[] {
  return runs.flatMap(({ name }, i) =>
    tasks.flatMap(({ facts, runs }) =>
      [...runs[i]!.troubles].map(([trouble, count]) => {
        return `${name}: ${instancesText(count)} of ${facts.name} could not be run: ${cut(trouble, 300)}`
      }),
    ),
  )
}

function comparisonNotes(runs: readonly ReadRun[], { instances, differing }: DrillData): string[] {
  const first = runs[0]!
  const alone = instances.filter(({ runs }) => runs.includes(null)).length
  return [
    ...runs.slice(1).flatMap(({ name, run }) => {
      return differences(first, run).map((what) => `${name} has another ${what} than ${first.name}`)
    }),
    ...(differing > 0
      ? [
          `${instancesText(differing)} had another prompt in another run (its tokenizer, data or seed): they are compared by their places`,
        ]
      : []),
    ...(alone > 0
      ? [`${instancesText(alone)} are not in every run; a difference is over those that both runs have`]
      : []),
  ]
}

/** In what the runs differ beside their models. */
function differences(first: ReadRun, other: ReadRun["run"]): string[] {
  const own = first.run
  const data = Object.keys(own.data).filter((name) => name in other.data && other.data[name] !== own.data[name])
  return [
    ...(own.identity.seed === other.identity.seed ? [] : ["seed"]),
    ...(own.identity.format === other.identity.format ? [] : ["prompt format"]),
    ...data.map((name) => `version of the data ${name}`),
  ]
}

function promptNotes(runs: readonly ReadRun[], { elided }: DrillData, detail: PromptDetail): string[] {
  if (detail === "none") return ["This report was made without its prompts"]
  const without = runs.filter(({ lines, prompts }) => lines.length > 0 && prompts.length === 0)
  return [
    ...without.map(({ name }) => `${name} was run without keeping its prompts`),
    ...(elided > 0
      ? [
          `${countText(elided)} prompts are longer than ${countText(CARRIED)} characters and carried without their middles`,
        ]
      : []),
  ]
}
