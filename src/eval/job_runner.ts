import { defined } from "./optional.ts"
import { respond } from "./respond.ts"
import type { ResultLine, RunFile } from "./results.ts"
import { computeShared } from "./shared_prefix.ts"
import type { EvalModel, Instance, MakeContext, Plan, Task, TaskRequest } from "./task.ts"

/** One instance that is to be run. */
export interface Job {
  readonly task: Task
  readonly request: TaskRequest
  readonly plan: Plan
}

/** What was made of a job. */
export interface Outcome {
  readonly line: ResultLine
  readonly text: string
}

interface RunnerOptions extends Pick<MakeContext, "data" | "format"> {
  readonly run: RunFile
  readonly signal: AbortSignal | undefined
}

/** What does not fit its length, in words: it would be as wrong the next time. */
type Made = { readonly instance: Instance } | { readonly trouble: string }

/** Makes instances of jobs, has the model do them, and judges what comes. */
export class JobRunner {
  readonly #model: EvalModel
  readonly #options: RunnerOptions
  /** Instances that were made to see how they begin. */
  readonly #made = new Map<Job, Promise<Made>>()

  constructor(model: EvalModel, options: RunnerOptions) {
    this.#model = model
    this.#options = options
  }

  /** @param next what comes after it in its group, and so may begin as it does */
  async run(job: Job, next: Job | undefined): Promise<Outcome> {
    const began = performance.now()
    const { task, plan } = job
    const { run, signal } = this.#options
    const { id, group, sample, length, depth } = plan
    const facts = { run: run.id, task: task.name, id, group, sample, ...defined({ length, depth }) }
    const by = { device: run.device, version: run.gemlet }
    const made = await this.#make(job)
    this.#made.delete(job)
    if ("trouble" in made) {
      return { line: { ...facts, promptTokens: 0, answerTokens: 0, meta: {}, ms: 0, ...by, ...made }, text: "" }
    }
    const { instance } = made
    const shared = next ? await this.#share(instance, next) : 0
    const { response, promptTokens, answerTokens, ...took } = await respond(this.#model, instance, signal)
    const { score, parts, positions } = task.score(instance, response)
    const answer = response.kind === "answer" || response.kind === "ending" ? response.text : undefined
    const refs = instance.kind === "answer" ? instance.refs : undefined
    const line: ResultLine = {
      ...facts,
      promptTokens,
      answerTokens,
      score,
      ...defined({ parts, positions, baselines: baselineScores(task, plan, instance), answer, refs }),
      meta: instance.meta,
      ms: Math.round(performance.now() - began),
      ...(took.prefillTokens !== undefined && {
        prefillTokens: took.prefillTokens + shared,
        reusedTokens: took.reusedTokens! - shared,
      }),
      ...by,
    }
    return { line, text: instance.text }
  }

  /** Computes what the next prompt begins with too; how many tokens that took. */
  async #share(instance: Instance, next: Job): Promise<number> {
    const other = await this.#make(next)
    if (instance.kind !== "answer" || !("instance" in other) || other.instance.kind !== "answer") return 0
    return computeShared(this.#model, instance.prompt, other.instance.prompt, this.#options.signal)
  }

  #make(job: Job): Promise<Made> {
    const known = this.#made.get(job)
    if (known) return known
    const { data, format } = this.#options
    const made = job.task.make(job.plan, { model: this.#model, data, format, request: job.request }).then(
      (instance) => ({ instance }),
      (error: unknown) => {
        if (error instanceof RangeError) return { trouble: error.message }
        throw error
      },
    )
    made.catch(() => {}) // told by whoever runs it
    this.#made.set(job, made)
    return made
  }
}

function baselineScores(task: Task, plan: Plan, instance: Instance): ResultLine["baselines"] {
  const baselines = task.baselines?.(plan, instance)
  if (!baselines) return undefined
  const { empty, echo, random } = baselines
  const [a, b, c] = [empty, echo, random].map((response) => task.score(instance, response).score)
  return { empty: a!, echo: b!, random: c! }
}
