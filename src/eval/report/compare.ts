import type { ReadRun } from "../run_folder.ts"
import { isScored, type TaskScores } from "./aggregate.ts"
import { type Difference, difference, holm } from "./statistics.ts"

/** A difference and where it is. */
export interface PlaceDifference extends Difference {
  readonly length?: number
  readonly depth?: number
}

/** One run beside the first, in one task. */
export interface Comparison {
  readonly task: string
  /** Its place among the runs, from 1 on. */
  readonly run: number
  readonly all: Difference
  /** `all.p`, raised for that there are several tasks and runs. */
  readonly adjustedP: number
  readonly byLength: readonly PlaceDifference[]
  readonly byPlace: readonly PlaceDifference[]
}

/** Adjusted p-values below this are told to be beyond chance. */
export const BEYOND_CHANCE = 0.05

interface Pair {
  readonly length?: number
  readonly depth?: number
  readonly by: number
}

/** Each further run beside the first, in each task, over the instances that have a score in both. */
export function compare(runs: readonly ReadRun[], tasks: readonly TaskScores[], seed: number): Comparison[] {
  const found = tasks.flatMap(({ facts: { name }, lengths, depths }) =>
    runs.slice(1).flatMap((run, i) => {
      const pairs = pairsOf(runs[0]!, run, name)
      const at = (own: readonly Pair[], where: string) => {
        return difference(
          own.map(({ by }) => by),
          seed,
          `${runs[0]!.run.id}/${run.run.id}/${name}/${where}`,
        )
      }
      const all = at(pairs, "all")
      if (!all) return []
      const byLength = lengths.flatMap((length) => {
        const own = pairs.filter((pair) => pair.length === length)
        const found = at(own, `${length}`)
        return found ? [{ length, ...found }] : []
      })
      const byPlace = lengths.flatMap((length) =>
        depths.flatMap((depth) => {
          const own = pairs.filter((pair) => pair.length === length && pair.depth === depth)
          const found = at(own, `${length}/${depth}`)
          return found ? [{ length, depth, ...found }] : []
        }),
      )
      return [{ task: name, run: i + 1, all, byLength, byPlace }]
    }),
  )
  const adjusted = holm(found.map(({ all }) => all.p))
  return found.map((each, i) => ({ ...each, adjustedP: adjusted[i]! }))
}

function pairsOf(first: ReadRun, second: ReadRun, task: string): Pair[] {
  const own = ({ lines }: ReadRun) => lines.filter((line) => line.task === task).filter(isScored)
  const before = new Map(own(first).map((line) => [line.id, line.score]))
  return own(second).flatMap(({ id, length, depth, score }) => {
    const other = before.get(id)
    return other === undefined ? [] : [{ length, depth, by: score - other }]
  })
}
