import { VERSION } from "../version.ts"
import type { EvalFolder } from "./folder.ts"
import { type ModelFacts, runId } from "./identity.ts"
import { type Job, JobRunner } from "./job_runner.ts"
import { defined } from "./optional.ts"
import { Pool } from "./pool.ts"
import { Progress, type Remaining } from "./progress.ts"
import { type ResultLine, RUN_FORMAT, RUN_VERSION, type RunFile, type RunIdentity } from "./results.ts"
import type { Shard } from "./run_folder.ts"
import { RunWriter } from "./run_writer.ts"
import type { EvalData, EvalModel, MakeContext, Task, TaskRequest } from "./task.ts"

/** A task, and what is asked of it. */
export interface Wanted {
  readonly task: Task
  /** Without what is the same for all tasks of a run. */
  readonly request?: Omit<TaskRequest, "seed" | "maxTokens">
}

export interface EvaluateOptions {
  readonly data: EvalData
  /** What the results are of, as `modelIdentity` gives it. */
  readonly of: ModelFacts
  /** Of which instances there are; 0 by default. */
  readonly seed?: number
  /** Tokens of an answer; each task has its own by default. */
  readonly maxTokens?: number | undefined
  /** Whether prompts are a user's turn or plain text; by the model's chat template by default. */
  readonly format?: MakeContext["format"]
  /** Where results are kept, and found when the run goes on. Without one they are only given. */
  readonly folder?: EvalFolder
  /** Keep what people read of each instance; true by default. */
  readonly prompts?: boolean
  /** Only a part of all instances: those that begin alike stay together. */
  readonly shard?: Shard | undefined
  /** Answers underway at once, 1 by default; no more than the model has sequences make sense. */
  readonly parallel?: number
  readonly signal?: AbortSignal
  /** Hears what was wrong in the files that were there. */
  readonly onNote?: (note: string) => void
}

/** A result as it comes. */
export interface Evaluated extends Remaining {
  readonly line: ResultLine
  readonly text: string
}

/**
 * Has a model do tasks, and gives each result as it comes; those that the folder has are not done again. Left, stopped or killed, a
 * run goes on from there and ends with the same results.
 *
 * @throws {RangeError} for a length beyond the model's context, a folder with results of another run, or one that is in use
 */
export async function* evaluate(
  model: EvalModel,
  wanted: readonly Wanted[],
  options: EvaluateOptions,
): AsyncGenerator<Evaluated, RunFile, undefined> {
  const { data, seed = 0, maxTokens, shard, parallel = 1, signal, format } = options
  expectShard(shard)
  const { device, ...facts } = options.of
  const identity: RunIdentity = { ...facts, format: format ?? "auto", seed, maxTokens: maxTokens ?? null }
  const requests = wanted.map(({ task, request }) => ({
    task,
    request: resolve(model, task, request, seed, maxTokens),
  }))
  for (const { task, request } of requests) expectLengths(model, task, request)
  const run: RunFile = {
    format: RUN_FORMAT,
    version: RUN_VERSION,
    id: await runId(identity),
    identity,
    data: await fingerprints(data, wanted),
    tasks: requests.map(({ task, request }) => ({ name: task.name, request })),
    gemlet: VERSION,
    device,
    started: new Date().toISOString(),
  }
  const writer = await RunWriter.open(run, options)
  try {
    const jobs = await plan(requests, data, shard)
    const open = inGroups(jobs.filter(({ task, plan }) => !writer.has(task.name, plan.id)))
    const progress = new Progress(jobs.length - open.flat().length, open.flat().map(weightOf))
    const runner = new JobRunner(model, { data, format, run, signal })
    const pool = new Pool(open, parallel, (job, next) => runner.run(job, next))
    for await (const { job, result } of pool) {
      await writer.write(result.line, { task: result.line.task, id: result.line.id, text: result.text })
      yield { ...result, ...progress.done(weightOf(job)) }
      signal?.throwIfAborted()
    }
    return run
  } finally {
    await writer.close()
  }
}

/** What is asked of a task with its defaults: of its lengths those that the model can do. */
function resolve(
  model: EvalModel,
  task: Task,
  request: Wanted["request"],
  seed: number,
  maxTokens: number | undefined,
): TaskRequest {
  const { depths, samples } = task.defaults
  const lengths = task.defaults.lengths?.filter((length) => length <= model.context)
  return { ...defined({ lengths, depths, samples, maxTokens }), ...defined({ ...request }), seed }
}

async function plan(
  requests: readonly { readonly task: Task; readonly request: TaskRequest }[],
  data: EvalData,
  shard: Shard | undefined,
): Promise<Job[]> {
  const jobs: Job[] = []
  for (const { task, request } of requests) {
    for (const plan of await task.plan(request, data)) jobs.push({ task, request, plan })
  }
  if (!shard) return jobs
  const groups = [...new Set(jobs.map(groupOf))]
  const mine = new Set(groups.filter((_, i) => i % shard.of === shard.index - 1))
  return jobs.filter((job) => mine.has(groupOf(job)))
}

/** Jobs that begin alike, one group after the other: so that the cache has what the next begins with. */
function inGroups(jobs: readonly Job[]): Job[][] {
  const groups = new Map<string, Job[]>()
  for (const job of jobs) groups.set(groupOf(job), [...(groups.get(groupOf(job)) ?? []), job])
  return [...groups.values()]
}

function groupOf({ task, plan }: Job): string {
  return `${task.name}\n${plan.group}`
}

/** How long a job takes, roughly: its tokens. */
function weightOf({ plan: { length } }: Job): number {
  return length ?? 256
}

async function fingerprints(data: EvalData, wanted: readonly Wanted[]): Promise<Record<string, string>> {
  const names = [...new Set(wanted.flatMap(({ task }) => task.data))].sort()
  const hashes: Record<string, string> = {}
  for (const name of names) hashes[name] = await data.fingerprint(name)
  return hashes
}

function expectLengths(model: EvalModel, task: Task, { lengths = [] }: TaskRequest): void {
  const most = Math.max(0, ...lengths)
  if (most <= model.context) return
  throw new RangeError(
    `${task.name}: length is ${most}, expected at most ${model.context}, the context that ${model.name} is loaded with`,
  )
}

function expectShard(shard: Shard | undefined): void {
  if (!shard) return
  const { index, of } = shard
  if (Number.isSafeInteger(index) && Number.isSafeInteger(of) && 1 <= index && index <= of) return
  throw new RangeError(`shard: is ${index}/${of}, expected i/n with i from 1 to n`)
}
