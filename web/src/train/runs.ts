// What can be done with runs of training: each is kept with its adapter, in the database.

import { signal } from "@preact/signals"
import { refreshAdapters } from "../adapters/adapters.ts"
import { baseOf, fits } from "../adapters/base.ts"
import { isLost, type Preflight } from "../engine.ts"
import { loadModel, noteLoss, rebuild, STORYTELLER_CHOICE } from "../models/load_model.ts"
import { go } from "../state/route.ts"
import { activeRun, type Choice, model, notice, type Trouble } from "../state/store.ts"
import { PageError, troubleOf } from "../state/trouble.ts"
import { type Adapter, adapterFolder, type RunOptions, type TrainingRun } from "../storage/adapter.ts"
import {
  changeAdapter,
  deleteAdapter,
  readAdapter,
  readRecords,
  writeAdapter,
  writeRecords,
} from "../storage/database.ts"
import { privateBytes } from "../storage/private_files.ts"
import type { Examples } from "./examples.ts"
import { Run } from "./run.ts"
import { takeRun } from "./run_lock.ts"

/** A run that is on its way to its start: what it will take, or why there will be none. */
export type Weighing =
  | { readonly kind: "weighing" }
  | { readonly kind: "weighed"; readonly preflight: Preflight }
  | { readonly kind: "failed"; readonly trouble: Trouble }

export const weighing = signal<Weighing | undefined>(undefined)

interface Candidate {
  readonly run: Run
  readonly adapter: Adapter
  readonly lines: string
}

let candidate: Candidate | undefined

/** Prepares a run of the model that is loaded, and finds out what it will take. */
export async function weighRun(name: string, options: RunOptions, { lines, count }: Examples): Promise<void> {
  const { value } = model
  if (value.kind !== "ready" || activeRun.value || weighing.value?.kind === "weighing") return
  weighing.value = { kind: "weighing" }
  const [id, now] = [crypto.randomUUID(), Date.now()]
  const progress = { settings: undefined, status: "underway", step: 0, curve: [], trouble: undefined } as const
  const run: TrainingRun = { options, loaded: value.choice.options, records: count, ...progress }
  const adapter = { id, name, base: baseOf(value.choice), created: now, updated: now, bytes: undefined, run }
  const release = (await takeRun(id))! // nobody else knows of it
  candidate = { run: new Run(value.lm, { id, name, options, lines, from: 0 }, release), adapter, lines }
  const own = candidate
  try {
    const preflight = await own.run.weigh()
    weighing.value = { kind: "weighed", preflight }
  } catch (error) {
    await own.run.end()
    if (isLost(error)) noteLoss(error)
    if (candidate === own) weighing.value = { kind: "failed", trouble: runTrouble(error) }
  }
}

/** Puts a run away that was weighed, or could not be. */
export async function leaveWeighed(): Promise<void> {
  const own = candidate
  candidate = undefined
  weighing.value = undefined
  await own?.run.stop()
}

/** Trains what was weighed, and shows it. */
export async function startRun(): Promise<void> {
  const own = candidate
  if (own?.run.phase.value !== "weighed") return
  const { run, adapter, lines } = own
  try {
    await writeRecords(adapter.id, lines)
    await writeAdapter(adapter)
  } catch (error) {
    candidate = undefined
    await deleteAdapter(adapter.id).catch(() => {}) // the reason comes first
    await run.end()
    weighing.value = { kind: "failed", trouble: runTrouble(error) }
    return
  }
  candidate = undefined
  weighing.value = undefined
  const trained = train(run)
  void refreshAdapters()
  go(`#/adapters/${adapter.id}`)
  await trained
}

/** Ends the step under way and keeps the run as it is then. */
export async function pauseRun(): Promise<void> {
  await activeRun.value?.stop()
}

/** Goes on from the last save, with the base loaded anew where another model is there, or none. */
export async function resumeRun(id: string): Promise<void> {
  const release = await takeRun(id)
  if (!release) return // another tab is at it, which the view says
  try {
    const adapter = await readAdapter(id)
    await pauseRun()
    const lines = await readRecords(id)
    if (!adapter?.run || lines === undefined) {
      throw new PageError("The examples are missing", "The browser's storage does not have them any more.")
    }
    const lm = await loadBase(adapter)
    const { name, run } = adapter
    await change(id, { status: "underway", trouble: undefined })
    const again = new Run(lm, { id, name, options: run.options, lines, from: run.step }, release)
    await train(again)
  } catch (error) {
    release()
    await keepStatus(id, { status: "failed", trouble: wordsOf(error) })
  }
}

/** Begins anew where what was saved cannot be read. */
export async function restartRun(id: string): Promise<void> {
  await keepStatus(id, { step: 0, curve: [] })
  await resumeRun(id)
}

async function train(run: Run): Promise<void> {
  const { id } = run
  try {
    if (run.phase.value === "weighing") await run.weigh()
    const status = await run.train(async (saved) => {
      await change(id, saved)
    })
    await keepStatus(id, { ...run.saved, status })
  } catch (error) {
    if (isLost(error)) noteLoss(error)
    await keepStatus(id, { ...run.saved, status: "failed", trouble: wordsOf(error) })
  } finally {
    await run.end()
  }
}

/** The model that a run is of. */
async function loadBase({ base, run }: Adapter) {
  const isBase = (choice: Choice) => fits(base, choice) && choice.options.dtype === run?.loaded.dtype
  if (model.value.kind === "failed" && isBase(model.value.choice)) await rebuild()
  else if (model.value.kind !== "ready" || !isBase(model.value.choice)) await loadModel(choiceOf(base, run!.loaded))
  const { value } = model
  if (value.kind === "ready" && isBase(value.choice)) return value.lm
  if (value.kind === "failed") throw new PageError(value.trouble.title, value.trouble.text)
  throw new PageError("The model is not there", `Load ${base.name}, and the run can go on.`)
}

function choiceOf({ name, kept }: Adapter["base"], options: Choice["options"]): Choice {
  if (kept === "storyteller") return STORYTELLER_CHOICE
  if (kept !== undefined) return { name: kept, location: { kept }, options }
  const weights = options.dtype === "q4" || options.dtype === "q8" ? `in ${options.dtype.slice(1)} bits` : "as stored"
  throw new PageError(
    "The model is not there",
    `Pick the files of ${name} under Models, weights ${weights}; then go on.`,
  )
}

/** How a run ended; where that cannot be written, the list still has it as it was at its last save. */
async function keepStatus(id: string, changed: Partial<TrainingRun>): Promise<void> {
  try {
    await change(id, changed)
  } catch (error) {
    notice.value = { text: wordsOf(error), alert: true }
  }
}

async function change(id: string, changed: Partial<TrainingRun>): Promise<void> {
  const bytes = (await privateBytes(adapterFolder(id))) || undefined
  await changeAdapter(id, (adapter) => {
    return adapter.run ? { ...adapter, bytes, updated: Date.now(), run: { ...adapter.run, ...changed } } : adapter
  })
  await refreshAdapters()
}

/** What went wrong with a run, and what would help it. */
function runTrouble(error: unknown): Trouble {
  const trouble = troubleOf(error)
  if (trouble.kind !== "memory") return trouble
  const message = error instanceof Error ? error.message : String(error)
  return {
    ...trouble,
    text: `Fewer rows a step, a shorter context or computing again what gradients need take less. (${message})`,
  }
}

function wordsOf(error: unknown): string {
  const { title, text } = runTrouble(error)
  return `${title}. ${text}`
}
