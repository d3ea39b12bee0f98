import type { TaskScores } from "./aggregate.ts"

/** Whether all scores of a task are fractions, as recalls and similarities are. */
export function isFraction({ facts, runs }: TaskScores): boolean {
  const overall = runs.flatMap(({ all }) => (all.estimate ? [all.estimate.mean] : []))
  return facts.better === "higher" && [...overall, ...placesOf(runs)].every((value) => value >= 0 && value <= 1)
}

/** What an axis of a task's scores goes over: from 0 to 1, or what there is of scores, intervals and baselines. */
export function scoreRange(task: TaskScores): [least: number, most: number] {
  if (isFraction(task)) return [0, 1]
  const places = task.runs.flatMap(({ all, byLength }) => [all, ...byLength])
  return widened(
    places.flatMap(({ estimate, baselines }) => [
      ...(estimate ? [estimate.mean, ...(estimate.interval ?? [])] : []),
      ...Object.values(baselines ?? {}).filter(Number.isFinite),
    ]),
  )
}

/** What colours of a task's cells go over, of all runs together so that they can be compared. */
export function cellRange(task: TaskScores): [least: number, most: number] {
  return isFraction(task) ? [0, 1] : widened(placesOf(task.runs))
}

/** The least and the most of some values, apart even where they are the same. */
export function widened(values: readonly number[]): [least: number, most: number] {
  const least = values.reduce((a, b) => Math.min(a, b), values[0] ?? 0)
  const most = values.reduce((a, b) => Math.max(a, b), values[0] ?? 1)
  if (most > least) return [least, most]
  const room = Math.max(1e-3, Math.abs(most) * 0.1)
  return [least - room, most + room]
}

function placesOf(runs: TaskScores["runs"]): number[] {
  return runs.flatMap(({ byPlace }) => byPlace.flatMap(({ estimate }) => (estimate ? [estimate.mean] : [])))
}
