import { existsSync } from "node:fs"
import { stat } from "node:fs/promises"
import { basename, dirname } from "node:path"
import type { Command } from "commander"
import {
  type Dataset,
  directoryStore,
  formatBytes,
  TEACH_MODES,
  TEACHER_FILE,
  type TeachMode,
  type TeachStep,
  teach,
} from "../src/index.ts"
import { interruptible } from "./interrupt.ts"
import { type LoadedModel, loadModel } from "./model.ts"
import {
  addAdapterOption,
  addCheckpointOptions,
  addDeviceOption,
  addJsonOption,
  type CheckpointFlags,
  decimal,
  type ModelFlags,
  oneOf,
  whole,
} from "./options.ts"
import { formatCount, note, printJson, table } from "./output.ts"
import { formatDuration } from "./progress.ts"
import { NO_CACHE, openData, type TrainingData } from "./training.ts"
import { inFlags } from "./training_errors.ts"
import { addDataOptions, type TrainingFlags } from "./training_options.ts"
import { commandLine } from "./training_report.ts"

interface Flags extends CheckpointFlags, Pick<TrainingFlags, DataFlag | "context" | "seed" | "rowsAtOnce"> {
  readonly device: ModelFlags["device"]
  readonly adapter?: string[]
  readonly out: string
  readonly force?: boolean
  readonly mode: TeachMode
  readonly k?: number
  readonly temperature?: number
}

type DataFlag = "data" | "heldOut" | "heldOutFrom" | "packing" | "shuffle" | "skipBad"

const EXAMPLES = `
Data are as for gemlet tune; a student learns from the rows that are written, and is measured by those held out.

Examples:
  gemlet teach --model google/gemma-3-1b-it --data chats/
  gemlet teach --data stories.jsonl --mode renorm --k 256 --out teacher.safetensors
  gemlet distill --cache teacher.safetensors --student student`

export function define(command: Command): void {
  command.description(
    "Writes what a teacher thinks of some data into one file: then any number of students learn without it.",
  )
  addDataOptions(addDeviceOption(addAdapterOption(addCheckpointOptions(command))))
    .optionsGroup("Teaching:")
    .option(
      "--mode <name>",
      "what is kept of each distribution: topk, the likeliest tokens; renorm, tokens drawn from it with their probabilities (arXiv:2503.19786); count, with their share of the draws",
      oneOf("--mode", TEACH_MODES),
      "topk",
    )
    .option("--k <k>", "tokens to keep (default: 64), or draws to make (default: 256)", whole("--k", 1, 4096))
    .option(
      "--temperature <t>",
      "what logits are divided by (default: 1)",
      decimal("--temperature", "above 0", (t) => t > 0 && Number.isFinite(t)),
    )
    .option("-c, --context <n>", "tokens of a row (default: 512, or the model's limit if less)", whole("--context", 2))
    .option("-s, --seed <n>", "of the order of the data, and of draws (default: 0)", whole("--seed", 0))
    .option("--rows-at-once <n>", "rows that go through the model together (default: 4)", whole("--rows-at-once", 1))
  addJsonOption(command, "print one object: what was written")
    .option("-o, --out <file>", "where to write it: whole or not at all", TEACHER_FILE)
    .option("--force", "write over a file that is there")
    .addHelpText("after", EXAMPLES)
    .action((flags: Flags) => interruptible((signal) => run(flags, signal)))
}

async function run(flags: Flags, signal: AbortSignal): Promise<void> {
  const began = performance.now()
  const { model, revision, ignoreKey, adapter, device, out } = flags
  if (!flags.data) throw new RangeError("--data: is missing, expected a file or folder of texts")
  if (!flags.force && existsSync(out)) {
    throw new RangeError(`--out: ${out} is there already, expected a new file (--force writes over it)`)
  }
  const data = await openData(flags)
  const loaded = await loadModel({ model, revision, ignoreKey, adapter, device, context: NO_CACHE }, signal)
  try {
    const last = await write(flags, loaded, data, signal)
    const { size: bytes } = await stat(out)
    const seconds = (performance.now() - began) / 1000
    const use = commandLine(["gemlet", "distill"], { "--cache": out })
    if (flags.json) printJson(report(flags, loaded, data.dataset!, { ...last, bytes, seconds, use }))
    else {
      const rows = [
        ["written", `${out}, ${formatBytes(bytes)}`],
        ["time", formatDuration(seconds)],
        ["use it with", use],
      ]
      process.stdout.write(`${table(rows)}\n`)
    }
  } finally {
    await loaded.lm.dispose()
  }
}

/** Tells of every step on stderr; gives the last. */
async function write(
  flags: Flags,
  { lm, name }: LoadedModel,
  { dataset, heldOut, records }: TrainingData,
  signal: AbortSignal,
): Promise<TeachStep> {
  const { out, mode, k, temperature, context, packing, shuffle, seed, heldOutFrom, skipBad, rowsAtOnce } = flags
  const store = directoryStore(dirname(out))
  const line = new Line()
  let last: TeachStep | undefined
  try {
    const options = { mode, k, temperature, context, packing, shuffle, seed, heldOut, heldOutFrom, skipBad, rowsAtOnce }
    for await (const step of teach(lm, dataset!, { ...options, store, file: basename(out), signal })) {
      if (!last && !flags.json) note(beginning(step, `${name} on ${lm.device.description}`, records))
      else if (!flags.json) line.show(step)
      last = step
    }
    return last!
  } catch (error) {
    throw inFlags(error)
  } finally {
    line.close()
  }
}

function beginning({ of, heldOutRows, fileBytes, memory }: TeachStep, model: string, records: number): string {
  return table([
    ["model", model],
    ["records", formatCount(records)],
    ["rows", `${formatCount(of)}, and ${formatCount(heldOutRows)} held out`],
    ["file", formatBytes(fileBytes)],
    ["on the device", formatBytes(memory)],
  ])
}

/** What --json tells. docs/cli.md describes the fields. */
function report(
  { out, mode }: Flags,
  { lm, name, adapters }: LoadedModel,
  { skipped }: Dataset,
  { of: rows, heldOutRows, tokens, tokensPerSecond, bytes, seconds, use }: TeachStep & Written,
) {
  const { description: device, software } = lm.device
  const { count, messages } = skipped
  const written = { out, mode, rows, heldOutRows, tokens, bytes, skipped: { count, messages } }
  return { model: name, adapters, device, software, ...written, tokensPerSecond, seconds, use }
}

interface Written {
  readonly bytes: number
  readonly seconds: number
  readonly use: string
}

/** How far it is: on a terminal one line that is rewritten, elsewhere ten. */
class Line {
  #tenth = 0
  #open = false

  show({ rows, of, tokensPerSecond, secondsLeft }: TeachStep): void {
    const tenth = Math.floor((10 * rows) / of)
    const speed = `${formatCount(Math.round(tokensPerSecond))} tokens/s`
    const text = `row ${formatCount(rows)}/${formatCount(of)}  ${speed}  ${formatDuration(secondsLeft)} left`
    if (process.stderr.isTTY) {
      process.stderr.write(`\r${text.slice(0, Math.max(1, (process.stderr.columns || 80) - 1))}\x1b[K`)
      this.#open = true
    } else if (tenth > this.#tenth) process.stderr.write(`${text}\n`)
    this.#tenth = tenth
  }

  close(): void {
    if (this.#open) process.stderr.write("\n")
    this.#open = false
  }
}
