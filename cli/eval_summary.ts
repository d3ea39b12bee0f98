import { aggregate, type ReadRun, TASKS, type TaskScores } from "../src/eval/index.ts"
import { note, printJson, table } from "./output.ts"

type Place = TaskScores["runs"][number]["all"]

/** Prints what came out: a row per task and length, or one object. */
export function printMeans(came: ReadRun, { json }: { readonly json?: boolean }): void {
  const { run } = came
  const scores = aggregate([came], TASKS, run.identity.seed)
  if (json) printJson(report(run, scores))
  else {
    const head = ["task", "length", "n", "mean", "95 %", "random", "metric"]
    const rows = scores.flatMap((task) => rowsOf(task))
    process.stdout.write(`${table([head, ...rows], { right: [1, 2, 3, 4, 5] })}\n`)
  }
  for (const { facts, runs } of scores) {
    for (const [trouble, count] of runs[0]!.troubles) note(`${facts.name}: ${count} not run: ${trouble}`)
  }
}

function rowsOf({ facts, runs }: TaskScores): string[][] {
  const { all, byLength, parts } = runs[0]!
  const places = byLength.length > 0 ? byLength : [all]
  const rows = places.map((place) => [facts.name, String(place.length ?? ""), ...numbersOf(place), facts.metric])
  const further = Object.entries(parts).map(([name, mean]) => ["", "", "", formatScore(mean), "", "", name])
  return [...rows, ...further]
}

function numbersOf({ estimate, baselines }: Place): string[] {
  if (!estimate) return ["0", "", "", ""]
  const { count, mean, interval } = estimate
  const shown = interval ? `${formatScore(interval[0])} to ${formatScore(interval[1])}` : ""
  return [String(count), formatScore(mean), shown, baselines ? formatScore(baselines.random) : ""]
}

function formatScore(value: number): string {
  return Math.abs(value) < 10 ? value.toFixed(3) : value.toFixed(1)
}

/** What --json tells. docs/evaluation.md describes the fields. */
function report({ id, identity, data, device, gemlet }: ReadRun["run"], scores: readonly TaskScores[]) {
  const tasks = scores.map(({ facts, runs }) => {
    const { all, byLength, byPlace, positions, parts, troubles } = runs[0]!
    return {
      task: facts.name,
      metric: facts.metric,
      all,
      byLength,
      byPlace,
      positions,
      parts,
      troubles: Object.fromEntries(troubles),
    }
  })
  return { run: id, identity, data, device, version: gemlet, tasks }
}
