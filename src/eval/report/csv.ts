import type { ReadRun } from "../run_folder.ts"
import { runningMeans } from "../score/positions.ts"
import type { PlaceScores, TaskScores } from "./aggregate.ts"
import type { Comparison, PlaceDifference } from "./compare.ts"

type Field = string | number | null | undefined

/**
 * Rows as CSV (RFC 4180): fields in quotes where they have to be, CRLF after each row. Numbers have all their digits; what is missing
 * is an empty field.
 */
export function csv(rows: readonly (readonly Field[])[]): string {
  const field = (value: Field) => {
    const text = Number.isNaN(value) ? "" : String(value ?? "")
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
  return rows.map((row) => `${row.map(field).join(",")}\r\n`).join("")
}

const BASELINES = ["empty", "echo", "random"] as const

/**
 * Every instance of every run. Answers and what was looked for are written as JSON: exact, and no spreadsheet takes them for formulas.
 */
export function instancesCsv(runs: readonly ReadRun[]): string {
  const parts = [...new Set(runs.flatMap(({ lines }) => lines.flatMap((line) => Object.keys(line.parts ?? {}))))].sort()
  const head = [
    ...["run", "run_id", "task", "id", "group", "length", "depth", "sample", "prompt_tokens", "answer_tokens", "score"],
    ...parts.map((part) => `part_${part}`),
    ...BASELINES.map((baseline) => `baseline_${baseline}`),
    ...["ms", "prefill_tokens", "reused_tokens", "device", "version", "trouble", "answer", "refs"],
  ]
  const rows = runs.flatMap(({ name, lines }) =>
    lines.map((line) => [
      ...[name, line.run, line.task, line.id, line.group, line.length, line.depth, line.sample],
      ...[line.promptTokens, line.answerTokens, line.score],
      ...parts.map((part) => line.parts?.[part]),
      ...BASELINES.map((baseline) => line.baselines?.[baseline]),
      ...[line.ms, line.prefillTokens, line.reusedTokens, line.device, line.version, line.trouble],
      ...[line.answer, line.refs].map((value) => JSON.stringify(value)),
    ]),
  )
  return csv([head, ...rows])
}

/** Means of every task: over all instances, by length, and by length and depth; each over what its row leaves empty. */
export function scoresCsv(tasks: readonly TaskScores[], names: readonly string[]): string {
  const head = ["run", "task", "metric", "better", "length", "depth", "instances", "mean", "low", "high", "troubles"]
  const rows = tasks.flatMap(({ facts, runs }) =>
    runs.flatMap(({ all, byLength, byPlace }, i) =>
      [all, ...byLength, ...byPlace]
        .filter(({ estimate, troubles }) => estimate || troubles > 0)
        .map((place) => [names[i], facts.name, facts.metric, facts.better, ...placeFields(place)]),
    ),
  )
  return csv([[...head, ...BASELINES.map((baseline) => `baseline_${baseline}`)], ...rows])
}

function placeFields({ length, depth, estimate, troubles, baselines }: PlaceScores): Field[] {
  const [low, high] = estimate?.interval ?? []
  const scores = [estimate?.count ?? 0, estimate?.mean, low, high]
  return [length, depth, ...scores, troubles, ...BASELINES.map((baseline) => baselines?.[baseline])]
}

/** Losses by position, a bucket a row. */
export function positionsCsv(tasks: readonly TaskScores[], names: readonly string[]): string {
  const law = ["alpha", "beta", "gamma", "r2"]
  const head = ["run", "task", "from", "to", "tokens", "loss", "low", "high", "running_mean", ...law]
  const rows = tasks.flatMap(({ facts, runs }) =>
    runs.flatMap(({ positions, fit }, i) => {
      const means = runningMeans(positions)
      return positions.map(({ from, to, tokens, loss, estimate }, j) => {
        const [low, high] = estimate.interval ?? []
        const place = [names[i], facts.name, from, to, tokens, loss, low, high, means[j]]
        return [...place, fit?.alpha, fit?.beta, fit?.gamma, fit?.r2]
      })
    }),
  )
  return csv([head, ...rows])
}

/** Differences from the first run: over all instances, by length, and by length and depth. Only the first are adjusted. */
export function differencesCsv(comparisons: readonly Comparison[], names: readonly string[]): string {
  const head = ["run", "less", "task", "length", "depth", "instances", "difference", "low", "high", "p", "p_adjusted"]
  const rows = comparisons.flatMap(({ task, run, all, adjustedP, byLength, byPlace }) => {
    const places: PlaceDifference[] = [all, ...byLength, ...byPlace]
    return places.map((place, i) => {
      const { length, depth, count, mean, interval, p } = place
      const [low, high] = interval ?? []
      return [names[run], names[0], task, length, depth, count, mean, low, high, p, i === 0 ? adjustedP : undefined]
    })
  })
  return csv([head, ...rows])
}
