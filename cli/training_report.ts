import { join } from "node:path"
import {
  formatBytes,
  type Preflight,
  type Skipped,
  type TrainingState,
  type TuneStep,
  type Tuning,
} from "../src/index.ts"
import type { LoadedModel } from "./model.ts"
import { formatCount, note, printJsonLine, shellWord, table } from "./output.ts"
import { formatDuration } from "./progress.ts"

/** What a run is about to do. */
export interface Beginning {
  readonly loaded: LoadedModel
  readonly tuning: Tuning
  readonly preflight: Preflight
  readonly data: { readonly records: number; readonly heldOut: number; readonly skipped: Skipped }
  readonly out: string
  /** Device bytes that may be in use. */
  readonly limit: number | undefined
}

/** How far a run has come. */
export interface Ending {
  readonly out: string
  readonly step: number
  readonly steps: number
  readonly curve: TrainingState["curve"]
  /** What the command took; undefined where nothing was left to do. */
  readonly seconds: number | undefined
  /** Commands that make use of the result, and that go on with the run. */
  readonly use: string
  readonly resume: string
}

/** Tells of a run: to people, or to a machine. */
export interface TrainingReport {
  prepare(done: number, of: number): void
  begin(beginning: Beginning): void
  step(step: TuneStep): void
  /** Ctrl-C came, and the step under way is being finished. */
  stopping(): void
  end(ending: Ending): void
  /** Leaves the line that was being rewritten. */
  close(): void
}

/** One object a line on stdout; docs/cli.md describes the fields. */
export const jsonReport: TrainingReport = {
  prepare() {},
  begin({ loaded, tuning, preflight, data, out, limit }) {
    const { lm, name } = loaded
    const { trained, ...bytes } = preflight
    printJsonLine({
      event: "start",
      model: name,
      device: lm.device.description,
      software: lm.device.software,
      out,
      resumedAt: tuning.step > 0 ? tuning.step : null,
      settings: tuning.settings,
      data,
      parameters: { trained, total: lm.parameters.total },
      bytes: { ...bytes, limit: limit ?? null },
    })
  },
  step(step) {
    printJsonLine({ event: "step", ...step })
  },
  stopping() {},
  end({ out, step, steps, curve, seconds, use, resume }) {
    const { loss, heldOut } = summary(curve)
    printJsonLine({ event: "end", finished: step === steps, out, step, steps, loss, heldOut, seconds, use, resume })
  },
  close() {},
}

/** How much of the shown loss is that of the last step: it jumps from one to the next. */
const FORGET = 0.1

/** Preflight and progress on stderr, the result on stdout. */
export class TextReport implements TrainingReport {
  readonly #terminal = process.stderr.isTTY
  #line = ""
  #steps = 0
  #loss = 0
  #heldOut: number | undefined

  prepare(done: number, of: number): void {
    if (this.#terminal) this.#rewrite(`preparing layer ${done} of ${of}`)
  }

  begin(beginning: Beginning): void {
    this.close()
    note(preflightText(beginning))
  }

  step(step: TuneStep): void {
    const { loss, heldOut } = step
    if (loss !== undefined) this.#loss += Math.max(FORGET, 1 / ++this.#steps) * (loss - this.#loss)
    const mean = this.#steps === 0 ? undefined : this.#loss
    if (heldOut !== undefined) this.#heldOut = heldOut
    if (this.#terminal) this.#rewrite(stepText(step, mean, this.#heldOut))
    else if (heldOut !== undefined || step.step === step.steps || step.step % Math.ceil(step.steps / 10) === 0) {
      process.stderr.write(`${stepText(step, mean, heldOut)}\n`)
    }
  }

  stopping(): void {
    this.close()
    note("finishing this step, then saving; Ctrl-C again ends at once")
  }

  end({ out, step, steps, curve, seconds, use, resume }: Ending): void {
    this.close()
    const { loss, heldOut } = summary(curve)
    const rows = [
      [step === steps ? "finished" : "stopped", `${out} after ${step} of ${steps} steps`],
      ...(seconds === undefined ? [] : [["time", formatDuration(seconds)]]),
      ...(loss === null ? [] : [["loss", loss.toFixed(4)]]),
      ...(heldOut === null
        ? []
        : [["held-out loss", `${heldOut.before.toFixed(4)} before, ${heldOut.after.toFixed(4)} after`]]),
      ...(curve.length === 0 ? [] : [["loss curve", join(out, "loss.svg")]]),
      step === steps ? ["use it with", use] : ["go on with", resume],
    ]
    const text = `${table(rows)}\n`
    if (step === steps) process.stdout.write(text)
    else process.stderr.write(text)
  }

  close(): void {
    if (this.#line !== "") process.stderr.write("\n")
    this.#line = ""
  }

  /** Writes over the line before; a longer one than the terminal is wide could not be. */
  #rewrite(text: string): void {
    this.#line = text.slice(0, Math.max(1, (process.stderr.columns || 80) - 1))
    process.stderr.write(`\r${this.#line}\x1b[K`)
  }
}

/** What a run will do, and what it will take. */
function preflightText({ loaded, tuning, preflight, data, limit }: Beginning): string {
  const { lm, name } = loaded
  const { held, gradients, state, scratch, peak, trained } = preflight
  const { method, steps, batch, context } = tuning.settings
  const { total } = lm.parameters
  const { records, heldOut, skipped } = data
  const rows = [
    ["model", `${name} on ${lm.device.description}`],
    ["method", `${method}, ${formatCount(trained)} trained parameters beside ${formatCount(total)} of the model`],
    ["steps", `${formatCount(steps)} of ${batch} rows of ${formatCount(context)} tokens`],
    ["records", `${formatCount(records)}, and ${formatCount(heldOut)} held out`],
    ...(skipped.count > 0 ? [["skipped", `${formatCount(skipped.count)}, such as ${skipped.messages[0]}`]] : []),
    ["weights", formatBytes(held)],
    ["gradients", formatBytes(gradients)],
    ["optimizer", formatBytes(state)],
    ["scratch", formatBytes(scratch)],
    ["total", `${formatBytes(peak)}${limit === undefined ? "" : ` of at most ${formatBytes(limit)}`}`],
    ...(tuning.step > 0 ? [["goes on", `after step ${tuning.step}`]] : []),
  ]
  if (method === "full") rows[1] = ["method", `full, all ${formatCount(trained)} parameters`]
  return table(rows)
}

/** `step  120/200  loss 2.3456  held-out 2.4012  1,234 tokens/s  3 min 20 s left  1.2 GiB`. */
export function stepText(
  { step, steps, tokensPerSecond, secondsLeft, memory }: TuneStep,
  loss: number | undefined,
  heldOut: number | undefined,
): string {
  const speed = [
    `${formatCount(Math.round(tokensPerSecond))} tokens/s`,
    step === steps ? "" : `${formatDuration(secondsLeft)} left`,
  ]
  return [
    `step ${`${step}`.padStart(`${steps}`.length)}/${steps}`,
    loss === undefined ? "" : `loss ${loss.toFixed(4)}`,
    heldOut === undefined ? "" : `held-out ${heldOut.toFixed(4)}`,
    ...(step === 0 ? [] : speed),
    formatBytes(memory),
  ]
    .filter(Boolean)
    .join("  ")
}

/** The mean loss of the last tenth of the steps, and the held-out losses that are first and last. */
function summary(curve: TrainingState["curve"]) {
  const losses = curve.flatMap(({ loss }) => (loss === undefined ? [] : [loss]))
  const measured = curve.flatMap(({ heldOut }) => (heldOut === undefined ? [] : [heldOut]))
  const last = losses.slice(-Math.ceil(losses.length / 10))
  return {
    loss: last.length === 0 ? null : last.reduce((sum, loss) => sum + loss, 0) / last.length,
    heldOut: measured.length === 0 ? null : { before: measured[0]!, after: measured.at(-1)! },
  }
}

/** Words of a command line, those in quotes that need them; what is undefined is left out with the flag before it. */
export function commandLine(words: readonly string[], flags: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [flag, shellWord(value)]))
  return [...words, ...given].join(" ")
}
