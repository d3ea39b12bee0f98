import { seedFor } from "../../train/random.ts"
import type { Place, Plan, Task, TaskRequest } from "../task.ts"

type Planned = Pick<Task, "name" | "defaults">

/** Plans of a grid: each length, each depth where the task has such, each sample; instances of a length and sample are a group. */
export function gridPlans(task: Planned, request: TaskRequest): Plan[] {
  const lengths = lengthsOf(task, request)
  const depths = depthsOf(task, request)
  return lengths.flatMap((length) =>
    range(samplesOf(task, request)).flatMap((sample) =>
      depths.map((depth) => planOf(task, request, { length, depth, sample }, `${task.name}/${length}/${sample}`)),
    ),
  )
}

/** Plans of so many records, in order, each its own group unless `groupOf` says otherwise. */
export function recordPlans(
  task: Planned,
  request: TaskRequest,
  records: readonly number[],
  groupOf?: (record: number) => string,
): Plan[] {
  const [length] = request.lengths ?? task.defaults.lengths ?? []
  return records.map((record) => {
    const id = `${task.name}/${record}`
    const group = groupOf === undefined ? id : `${task.name}/${groupOf(record)}`
    return { id, seed: seedFor(request.seed, id), group, length, depth: undefined, sample: record }
  })
}

/** A plan's id says where it lies: `niah_single/4096/50/0`, without what the place does not have. */
export function planOf({ name }: Planned, { seed }: TaskRequest, place: Place, group: string): Plan {
  const id = [name, place.length, place.depth, place.sample].filter((part) => part !== undefined).join("/")
  return { ...place, id, seed: seedFor(seed, id), group }
}

export function samplesOf({ name, defaults }: Planned, { samples = defaults.samples }: TaskRequest): number {
  if (Number.isSafeInteger(samples) && samples >= 1) return samples
  throw new RangeError(`${name}: samples is ${samples}, expected a whole number from 1 on`)
}

export function lengthsOf({ name, defaults }: Planned, request: TaskRequest): readonly number[] {
  const lengths = request.lengths ?? defaults.lengths ?? []
  const wrong = lengths.find((length) => !Number.isSafeInteger(length) || length < 1)
  if (wrong !== undefined) throw new RangeError(`${name}: length is ${wrong}, expected a whole number from 1 on`)
  if (lengths.length === 0) throw new RangeError(`${name}: number of lengths is 0, expected at least 1`)
  return lengths
}

/** The depths of a task that has such; one that is undefined for others, which need not mind what was asked of the first. */
function depthsOf({ name, defaults }: Planned, request: TaskRequest): readonly (number | undefined)[] {
  if (defaults.depths === undefined) return [undefined]
  const depths = request.depths ?? defaults.depths
  const wrong = depths.find((depth) => !(depth >= 0 && depth <= 100))
  if (wrong !== undefined) throw new RangeError(`${name}: depth is ${wrong}, expected a percentage from 0 to 100`)
  if (depths.length === 0) throw new RangeError(`${name}: number of depths is 0, expected at least 1`)
  return depths
}

/** Tokens that an answer may have. */
export function answerTokens({ name, defaults }: Planned, request: TaskRequest): number {
  const tokens = request.maxTokens ?? defaults.maxTokens
  if (tokens !== undefined && Number.isSafeInteger(tokens) && tokens >= 1) return tokens
  throw new RangeError(`${name}: maxTokens is ${tokens}, expected a whole number from 1 on`)
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}
