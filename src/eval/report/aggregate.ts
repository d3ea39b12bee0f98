import type { BaselineScores, ResultLine } from "../results.ts"
import type { ReadRun } from "../run_folder.ts"
import { type LossTotals, lossRatios, lossTotals } from "../score/loss_ratios.ts"
import { fitPowerLaw, type PowerLaw } from "../score/power_law.ts"
import type { PositionBucket, Task } from "../task.ts"
import { type Estimate, estimate, type Unit, unit } from "./statistics.ts"

/** What a report says of a task. */
export type TaskFacts = Pick<Task, "name" | "summary" | "metric" | "better" | "source">

/** What a run scored in one place, or over several. */
export interface PlaceScores {
  readonly length?: number
  readonly depth?: number
  /** Missing where no instance has a score. */
  readonly estimate?: Estimate
  /** Means over the instances that have them. */
  readonly baselines?: BaselineScores
  /** Instances that could not be run. */
  readonly troubles: number
}

/** Losses of tokens `[from, to)` of all texts, with their spread. */
export interface PositionScores extends PositionBucket {
  readonly estimate: Estimate
}

/** A run's results of a task. */
export interface RunScores {
  readonly all: PlaceScores
  /** By length, least first; empty where instances have none. */
  readonly byLength: readonly PlaceScores[]
  /** By length and depth; empty where instances have no depth. */
  readonly byPlace: readonly PlaceScores[]
  readonly positions: readonly PositionScores[]
  /** Of the losses by position; missing where there are too few. */
  readonly fit?: PowerLaw
  /** Means of further numbers. */
  readonly parts: Readonly<Record<string, number>>
  /** What could not be run and how often, by what was said of it. */
  readonly troubles: ReadonlyMap<string, number>
}

/** A task's results of all runs, in their order. */
export interface TaskScores {
  readonly facts: TaskFacts
  readonly lengths: readonly number[]
  readonly depths: readonly number[]
  readonly runs: readonly RunScores[]
}

/** Whether a line has a score; a number too large for a float is none. */
export function isScored(line: ResultLine): line is ResultLine & { readonly score: number } {
  return line.score !== undefined && Number.isFinite(line.score)
}

/** Means and intervals of all tasks that any of the runs has, by name. */
export function aggregate(runs: readonly ReadRun[], tasks: readonly TaskFacts[], seed: number): TaskScores[] {
  const names = [...new Set(runs.flatMap(({ lines }) => lines.map(({ task }) => task)))].sort()
  return names.map((name) => {
    const facts = tasks.find((task) => task.name === name) ?? unknownTask(name)
    const lines = runs.map(({ lines }) => lines.filter(({ task }) => task === name))
    return {
      facts,
      lengths: sorted(lines.flat().map(({ length }) => length)),
      depths: sorted(lines.flat().map(({ depth }) => depth)),
      runs: lines.map((own, i) => runScores(own, seed, `${runs[i]!.run.id}/${name}`)),
    }
  })
}

/** What can be said of a task that this version does not know. */
function unknownTask(name: string): TaskFacts {
  return { name, summary: "", metric: "score", better: "higher", source: "" }
}

function runScores(lines: readonly ResultLine[], seed: number, name: string): RunScores {
  const at = (length: number | undefined, depth: number | undefined, own: readonly ResultLine[]): PlaceScores => {
    return { length, depth, ...placeScores(own, seed, `${name}/${length}/${depth}`) }
  }
  const lengths = sorted(lines.map(({ length }) => length))
  const depths = sorted(lines.map(({ depth }) => depth))
  const positions = positionScores(lines, seed, name)
  const places = lengths.flatMap((length) => depths.map((depth) => [length, depth] as const))
  return {
    all: at(undefined, undefined, lines),
    byLength: lengths.map((length) => {
      return at(
        length,
        undefined,
        lines.filter((line) => line.length === length),
      )
    }),
    byPlace: places.flatMap(([length, depth]) => {
      const own = lines.filter((line) => line.length === length && line.depth === depth)
      return own.length > 0 ? [at(length, depth, own)] : []
    }),
    positions,
    fit: fitPowerLaw(positions),
    parts: meanParts(lines),
    troubles: troublesOf(lines),
  }
}

function placeScores(lines: readonly ResultLine[], seed: number, name: string) {
  const scored = lines.filter(isScored)
  const scores = scored.map(unitOf)
  const baselines = scored.flatMap(({ baselines }) => (baselines ? [baselines] : []))
  return {
    estimate: estimate(scores, seed, name),
    baselines: baselines.length === 0 ? undefined : meanBaselines(baselines),
    troubles: lines.length - scored.length,
  }
}

/** A loss per token counts by its tokens, so that a mean of several is that of their texts together. */
function unitOf({ score, parts }: ResultLine & { readonly score: number }): Unit {
  const totals = lossTotals(parts)
  return totals ? { sum: totals.nats, weight: totals.tokens } : unit(score)
}

/** Those that are no finite numbers are left out, and a mean of none is none. */
function meanBaselines(all: readonly BaselineScores[]): BaselineScores {
  const mean = (key: keyof BaselineScores) => meanOf(all.map((each) => each[key]).filter(Number.isFinite))
  return { empty: mean("empty"), echo: mean("echo"), random: mean("random") }
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Buckets over all instances by where they begin, as the last one of a text may be cut; each token counts the same. */
function positionScores(lines: readonly ResultLine[], seed: number, name: string): PositionScores[] {
  const buckets = new Map<number, { to: number; units: Unit[] }>()
  for (const { from, to, loss, tokens } of lines.flatMap(({ positions }) => positions ?? [])) {
    if (!Number.isFinite(loss) || !(tokens > 0 && from >= 1 && to > from)) continue
    const bucket = buckets.get(from) ?? { to, units: [] }
    bucket.to = Math.max(bucket.to, to)
    bucket.units.push({ sum: loss * tokens, weight: tokens })
    buckets.set(from, bucket)
  }
  const inOrder = [...buckets].sort(([a], [b]) => a - b)
  return inOrder.map(([from, { to, units }]) => {
    const tokens = units.reduce((sum, { weight }) => sum + weight, 0)
    const found = estimate(units, seed, `${name}/positions/${from}`)!
    return { from, to, tokens, loss: found.mean, estimate: found }
  })
}

/** Means of further numbers; of losses what the sums over all texts come to. */
function meanParts(lines: readonly ResultLine[]): Record<string, number> {
  const totals = lines.flatMap(({ parts }) => lossTotals(parts) ?? [])
  if (totals.length > 0) {
    const sum = (key: keyof LossTotals) => totals.reduce((all, each) => all + each[key], 0)
    return lossRatios({ nats: sum("nats"), tokens: sum("tokens"), bytes: sum("bytes"), words: sum("words") })
  }
  const found = new Map<string, number[]>()
  for (const [key, value] of lines.flatMap(({ parts }) => Object.entries(parts ?? {}))) {
    if (!Number.isFinite(value)) continue
    if (!found.has(key)) found.set(key, [])
    found.get(key)!.push(value)
  }
  return Object.fromEntries([...found].map(([key, values]) => [key, meanOf(values)]))
}

function troublesOf(lines: readonly ResultLine[]): Map<string, number> {
  const found = new Map<string, number>()
  for (const line of lines) {
    if (isScored(line)) continue
    const trouble = line.trouble ?? `score: value is ${line.score}, expected a finite number`
    found.set(trouble, (found.get(trouble) ?? 0) + 1)
  }
  return found
}

/** What is there of some values, each once and least first. */
function sorted(values: readonly (number | undefined)[]): number[] {
  return [...new Set(values.filter((value) => value !== undefined))].sort((a, b) => a - b)
}
