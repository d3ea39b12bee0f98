import {
  type EvalFolder,
  type EvaluateOptions,
  evalData,
  evaluate,
  modelIdentity,
  type ReadRun,
  type ResultLine,
  readRun,
  type Wanted,
} from "../src/eval/index.ts"
import { evalFolder, evalSources } from "../src/index.ts"
import { isAbort } from "./errors.ts"
import type { EvalFlags } from "./eval_options.ts"
import { EvalProgress } from "./eval_progress.ts"
import { printMeans } from "./eval_summary.ts"
import { interruptible } from "./interrupt.ts"
import { type LoadedModel, loadModel } from "./model.ts"
import { note } from "./output.ts"

/** Runs tasks on the model that the flags name, shows how far it is, and prints the means. */
export async function runEval(wanted: readonly Wanted[], flags: EvalFlags): Promise<void> {
  const { lengths, depths, samples, out, context, parallel } = flags
  const given = { ...(lengths && { lengths }), ...(depths && { depths }), ...(samples && { samples }) }
  const asked = wanted.map(({ task, request }) => ({ task, request: { ...request, ...given } }))
  const most = Math.max(0, ...asked.flatMap(({ request }) => request.lengths ?? []))
  await interruptible(async (signal) => {
    // What is asked for decides what is kept; without it the model's own limit does, up to the usual.
    const flagsOfModel = { ...flags, context: context ?? (most || undefined) }
    const loaded = await loadModel(flagsOfModel, signal, { sequences: parallel })
    await using lm = loaded.lm
    const folder = out === undefined ? undefined : evalFolder(out)
    const { dtype = "stored", cacheDtype = "f32", actQuant = "int8" } = flags
    const of = { ...(await modelIdentity(lm, { dtype, cacheDtype, actQuant })), name: loaded.name }
    const came = await follow(loaded, asked, { ...optionsOf(flags, folder, signal), of }, flags)
    printMeans(folder ? await readRun(folder) : came, flags)
  })
}

function optionsOf(
  { seed, maxTokens, format, data, prompts, shard, parallel }: EvalFlags,
  folder: EvalFolder | undefined,
  signal: AbortSignal,
): Omit<EvaluateOptions, "of"> {
  const kept = { prompts, shard, ...(folder && { folder }) }
  return { data: evalData(evalSources(data)), seed, maxTokens, format, parallel, signal, onNote: note, ...kept }
}

/** Goes through a run and tells of it on stderr. */
async function follow(
  { lm, name }: LoadedModel,
  asked: readonly Wanted[],
  options: EvaluateOptions,
  { out, json }: EvalFlags,
): Promise<ReadRun> {
  const progress = new EvalProgress(json === true)
  const lines: ResultLine[] = []
  const steps = evaluate(lm, asked, options)
  try {
    for (let step = await steps.next(); ; step = await steps.next()) {
      if (step.done) return { name, run: step.value, lines, prompts: [], notes: [] }
      lines.push(step.value.line)
      progress.update(step.value)
    }
  } catch (error) {
    progress.stop()
    if (isAbort(error)) note(out ? `stopped; the same command goes on from there` : "stopped; --out keeps results")
    throw error
  } finally {
    progress.stop()
  }
}
