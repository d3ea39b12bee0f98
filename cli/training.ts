import { existsSync } from "node:fs"
import { rm } from "node:fs/promises"
import { totalmem } from "node:os"
import { join, resolve } from "node:path"
import type { Command } from "commander"
import {
  type Dataset,
  dataFiles,
  directoryStore,
  isDataFile,
  type LanguageModel,
  openDataset,
  readTrainingFile,
  type TrainingState,
  type TuneOptions,
  type Tuning,
  tune,
} from "../src/index.ts"
import { isAbort } from "./errors.ts"
import { interruptible } from "./interrupt.ts"
import type { LoadedModel } from "./model.ts"
import { expectOutFolder } from "./out_folder.ts"
import { inFlags, isDivergence } from "./training_errors.ts"
import type { TrainingFlags } from "./training_options.ts"
import { commandLine, type Ending, jsonReport, TextReport, type TrainingReport } from "./training_report.ts"

/** What one of the commands that train is made of. */
export interface TrainingCommand<Flags extends TrainingFlags> {
  /** Where results go unless --out says so. */
  defaultOut(flags: Flags): string
  /** Flags whose values are paths, if they are there. */
  readonly paths: readonly (keyof Flags & string)[]
  options(flags: Flags): TuneOptions
  load(run: Run<Flags>, signal: AbortSignal): Promise<LoadedModel>
  /** A command line that makes use of the result. */
  use(run: Run<Flags>): string
  /** Opens what is learnt from, where that need not be --data. */
  openData?(flags: Flags): Promise<TrainingData>
  /** Makes the run; the library's `tune` without. */
  start?(lm: LanguageModel, data: Dataset | undefined, options: TuneOptions): Tuning
}

/** What is learnt from, and what is held out of it. */
export interface TrainingData {
  /** Absent where it is no texts; then the command has a `start`. */
  readonly dataset?: Dataset
  readonly heldOut?: number | Dataset
  readonly records: number
  readonly heldOutRecords: number
}

/** A run that was asked for. */
export interface Run<Flags> {
  /** The command's name. */
  readonly command: string
  readonly out: string
  /** What was said now, and before it by whoever began the run. */
  readonly flags: Flags
  readonly resumed: TrainingState | undefined
  /** When the command began. */
  readonly began: number
}

/** Training keeps no keys and values: the context of the smallest cache that a model can be loaded with. */
export const NO_CACHE = 2
/** What a run leaves in its folder beside the files of a whole model. */
const RUN_FILES = ["training.safetensors", "loss.svg", "adapter_config.json", "adapter_model.safetensors"]
/** A software adapter takes the machine's memory, which others need, too. */
const SOFTWARE_SHARE = 0.9

/** Trains as the flags of a command say, from the beginning or from where a run was stopped. */
export async function runTraining<Flags extends TrainingFlags>(
  command: Command,
  training: TrainingCommand<Flags>,
): Promise<void> {
  const run = await openRun(command, training)
  const report = run.flags.json ? jsonReport : new TextReport()
  const { resumed } = run
  if (resumed && isFinished(resumed, run.flags)) {
    const { step, curve } = resumed
    report.end({ ...ending(run, training, step, step, curve), seconds: undefined })
    return
  }
  await interruptible((signal) => train(run, training, report, signal))
}

async function train<Flags extends TrainingFlags>(
  run: Run<Flags>,
  training: TrainingCommand<Flags>,
  report: TrainingReport,
  signal: AbortSignal,
): Promise<void> {
  const { command, flags, out, resumed } = run
  const options = training.options(flags)
  const { dataset, records, heldOut, heldOutRecords } = await (training.openData ?? openData)(flags)
  const loaded = await training.load(run, signal)
  const limit = flags.memoryLimit ?? softwareLimit(loaded.lm)
  let tuning: Tuning | undefined
  try {
    tuning = (training.start ?? startTune)(loaded.lm, dataset, {
      ...options,
      heldOut,
      store: directoryStore(out),
      resume: resumed !== undefined,
      note: { command, flags: keptFlags(flags, training.paths) },
      memoryLimit: limit,
      signal,
      reopen: async () => (await training.load(run, signal)).lm,
      onPrepare: (done, of) => report.prepare(done, of),
    })
    const preflight = await tuning.prepare()
    signal.throwIfAborted()
    if (!resumed) await Promise.all(RUN_FILES.map((file) => rm(join(out, file), { force: true })))
    const data = { records, heldOut: heldOutRecords, skipped: dataset?.skipped ?? { count: 0, messages: [] } }
    report.begin({ loaded, tuning, preflight, data, out, limit })
    await follow(tuning, report, signal)
    report.end(ending(run, training, tuning.step, tuning.settings.steps, tuning.curve))
  } catch (error) {
    report.close()
    if (tuning?.saved === undefined) throw inFlags(error)
    if (!isAbort(error)) throw withAdvice(inFlags(error), run)
    report.end(ending(run, training, tuning.saved, tuning.settings.steps, tuning.curve))
    throw error
  } finally {
    await (tuning?.lm ?? loaded.lm).dispose()
  }
}

function startTune(lm: LanguageModel, data: Dataset | undefined, options: TuneOptions): Tuning {
  return tune(lm, data!, options)
}

/** Tells of every step. */
async function follow(tuning: Tuning, report: TrainingReport, signal: AbortSignal): Promise<void> {
  const onAbort = () => report.stopping()
  signal.addEventListener("abort", onAbort)
  try {
    for await (const step of tuning) report.step(step)
  } finally {
    signal.removeEventListener("abort", onAbort)
  }
}

/** What was asked for: flags as given, over those kept in --out where a run is resumed. */
async function openRun<Flags extends TrainingFlags>(
  command: Command,
  { defaultOut, paths, openData }: TrainingCommand<Flags>,
): Promise<Run<Flags>> {
  const began = performance.now()
  const given = givenFlags<Flags>(command)
  const out = given.out ?? defaultOut(given)
  const name = command.name()
  if (given.resume) {
    const resumed = await readState(out)
    return { command: name, out, flags: { ...noteFlags<Flags>(resumed, name, out), ...given }, resumed, began }
  }
  if (!given.data && !openData)
    throw new RangeError("--data: is missing, expected a file or folder of texts to learn from")
  const read = paths.flatMap((path) => given[path] as string | string[] | number | undefined).map(String)
  const otherwise = "--resume goes on with a run in it, --force writes into it"
  await expectOutFolder(out, { force: given.force, read, otherwise })
  return { command: name, out, flags: given, resumed: undefined, began }
}

/** Only what the command line said: no default. */
function givenFlags<Flags>(command: Command): Flags {
  const given = Object.entries(command.opts()).filter(([name]) => command.getOptionValueSource(name) === "cli")
  return Object.fromEntries(given) as Flags
}

async function readState(out: string): Promise<TrainingState> {
  const store = directoryStore(out)
  try {
    return (await readTrainingFile(store)).state
  } finally {
    await store.close?.()
  }
}

function noteFlags<Flags>({ note }: TrainingState, command: string, out: string): Flags {
  const kept = note as { command: string; flags: Flags } | null | undefined
  if (kept?.command === command) return kept.flags
  const by = kept?.command === undefined ? "the library" : `gemlet ${kept.command}`
  throw new RangeError(`--resume: run in ${out} is of ${by}, expected one of gemlet ${command}`)
}

/** Flags as a later process needs them, which may run in another folder. */
function keptFlags<Flags extends TrainingFlags>(flags: Flags, paths: readonly (keyof Flags & string)[]): object {
  const { out, resume, force, json, ...rest } = flags
  const absolute = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(absolute)
    return typeof value === "string" && existsSync(value) ? resolve(value) : value
  }
  const named = paths.filter((path) => flags[path] !== undefined).map((path) => [path, absolute(flags[path])])
  return { ...rest, ...Object.fromEntries(named) }
}

/** Whether nothing is left to do. Other steps than before are for the library to refuse. */
function isFinished({ step, settings }: TrainingState, { steps = step }: TrainingFlags): boolean {
  return step === settings.steps && steps === step
}

/** Reads the data once, and settles how many records are held out, so that it can be told. */
export async function openData({ data, heldOut, skipBad }: TrainingFlags): Promise<TrainingData> {
  const open = async (paths: readonly string[]) => openDataset(await dataFiles(paths, isDataFile), { skipBad })
  const dataset = await open(data ?? [])
  const { count } = dataset
  if (typeof heldOut === "string") {
    const other = await open([heldOut])
    return { dataset, records: count, heldOut: other, heldOutRecords: other.count }
  }
  const kept = heldOutCount(count, heldOut)
  return { dataset, records: count - kept, heldOut: kept, heldOutRecords: kept }
}

/** A number of records, or a share of them; by default a twentieth, at most 64, and none of fewer than 20. */
function heldOutCount(count: number, heldOut: number | undefined): number {
  if (heldOut === undefined) return count < 20 ? 0 : Math.min(64, Math.round(count / 20))
  return heldOut > 0 && heldOut < 1 ? Math.max(1, Math.round(heldOut * count)) : heldOut
}

function softwareLimit({ device }: LanguageModel): number | undefined {
  return device.software ? Math.floor(SOFTWARE_SHARE * totalmem()) : undefined
}

function ending<Flags extends TrainingFlags>(
  run: Run<Flags>,
  training: TrainingCommand<Flags>,
  step: number,
  steps: number,
  curve: TrainingState["curve"],
): Ending {
  const seconds = (performance.now() - run.began) / 1000
  return { out: run.out, step, steps, curve, seconds, use: training.use(run), resume: resumeLine(run) }
}

function resumeLine<Flags>({ command, out }: Run<Flags>): string {
  return commandLine(["gemlet", command, "--resume"], { "--out": out })
}

/** What failed, and how to go on from the last checkpoint; a loss that was not a number would be so again. */
function withAdvice<Flags>(error: unknown, run: Run<Flags>): unknown {
  if (error instanceof Error && !isDivergence(error)) error.message += `; go on from there with ${resumeLine(run)}`
  return error
}
