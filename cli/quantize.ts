import { type Command, Option } from "commander"
import {
  type Divergence,
  directoryStore,
  divergence,
  formatBytes,
  type LanguageModel,
  type Moments,
  momentsOnDemand,
  type Quantization,
  type QuantizeOptions,
  quantize,
} from "../src/index.ts"
import { interruptible } from "./interrupt.ts"
import { loadModel, modelName, withProgress } from "./model.ts"
import {
  addCheckpointOptions,
  addContextOptions,
  addDeviceOption,
  addJsonOption,
  type ModelFlags,
  oneOf,
} from "./options.ts"
import { expectOutFolder } from "./out_folder.ts"
import { printJson, shellWord, table } from "./output.ts"
import { Line } from "./status_line.ts"
import { pieces, readSome } from "./texts.ts"

interface Flags extends Omit<ModelFlags, "dtype"> {
  readonly dtype: QuantizeOptions["dtype"]
  readonly calibrate?: string
  readonly evaluate?: string
  readonly out?: string
  readonly force?: boolean
}

interface Texts {
  readonly calibration: string | undefined
  readonly evaluation: string | undefined
}

const DTYPES = ["q4", "q8"] as const

/** The most logits of a piece that are compared at once: 256 MiB of each model. */
const MOST_LOGITS = 2 ** 26

const EXAMPLES = `
Examples:
  gemlet quantize --dtype q8 --out small
  gemlet quantize --model google/gemma-3-270m --calibrate texts.txt --evaluate held_out.txt --out small
  gemlet generate --model small "Once upon a time"`

export function define(command: Command): void {
  command.description(
    "Writes a model with its weights rounded to four or eight bits, in blocks of 32: 5 and 9 bits a weight on the GPU. " +
      "What is written runs and takes adapters; to train all of it one needs the weights that it came from.",
  )
  addDeviceOption(addContextOptions(addCheckpointOptions(command)))
    .addOption(
      new Option("--dtype <type>", "q4 or q8, four or eight bits").argParser(oneOf("--dtype", DTYPES)).default("q4"),
    )
    .optionsGroup("Texts:")
    .option("--calibrate <path>", "a text file: round to four bits so that layers give on it what they gave (GPTQ)")
    .option("--evaluate <path>", "another text file: tell what of the model's predictions on it has changed")
  addJsonOption(command, "print one object: the bytes, and what --evaluate measures")
    .option("-o, --out <folder>", "where to write the checkpoint")
    .option("--force", "write into a folder that is not empty")
    .addHelpText("after", EXAMPLES)
    .action(quantizeModel)
}

async function quantizeModel(flags: Flags): Promise<void> {
  const { model, dtype, out, force } = flags
  if (out === undefined) throw new RangeError("--out: is missing, expected a folder to write the checkpoint into")
  if (flags.calibrate !== undefined && dtype !== "q4") {
    throw new RangeError(`--calibrate: is given with ${dtype}, expected q4 (in q8 each weight goes to the nearest)`)
  }
  await expectOutFolder(out, { force, read: [model], otherwise: "--force writes into it" })
  const texts = {
    calibration: await readSome("--calibrate", flags.calibrate),
    evaluation: await readSome("--evaluate", flags.evaluate),
  }
  await interruptible(async (signal) => {
    const original = await loadOriginal(flags, texts, signal)
    try {
      const moments = original && texts.calibration ? momentsOf(original, texts.calibration, signal) : undefined
      const quantization = await write(flags, out, moments, signal)
      const change = original && (await measured(flags, out, original, texts, signal))
      if (flags.json) printJson(report(flags, out, quantization, change))
      else process.stdout.write(`${summary(out, quantization, change)}\n`)
    } finally {
      await original?.dispose()
    }
  })
}

/** The model as it is, if a text asks for it. */
async function loadOriginal(flags: Flags, { calibration, evaluation }: Texts, signal: AbortSignal) {
  if (calibration === undefined && evaluation === undefined) return undefined
  return (await loadModel(flags, signal, { dtype: "stored" })).lm
}

function momentsOf(lm: LanguageModel, text: string, signal: AbortSignal): Moments {
  return momentsOnDemand(lm, pieces(lm, "--calibrate", text), { signal })
}

async function write(
  { model, dtype, device, revision, ignoreKey: ignoreKeys }: Flags,
  out: string,
  moments: QuantizeOptions["moments"],
  signal: AbortSignal,
): Promise<Quantization> {
  const line = new Line()
  try {
    const onWeight: QuantizeOptions["onWeight"] = (name, done, of) => line.show(`weight ${done} of ${of}: ${name}`)
    return await withProgress(signal, (onProgress) =>
      quantize(model, directoryStore(out), {
        ...{ dtype, device, revision, ignoreKeys, moments },
        ...{ onWeight, onProgress, signal },
      }),
    )
  } finally {
    line.close()
  }
}

async function measured(
  flags: Flags,
  out: string,
  original: LanguageModel,
  { evaluation }: Texts,
  signal: AbortSignal,
): Promise<Divergence | undefined> {
  if (evaluation === undefined) return undefined
  const { lm } = await loadModel(flags, signal, { location: out, dtype: "stored", beside: original })
  try {
    const most = Math.min(lm.context, Math.max(2, Math.floor(MOST_LOGITS / lm.config.vocabSize)))
    return await divergence(lm, original, pieces(lm, "--evaluate", evaluation, most))
  } finally {
    await lm.dispose()
  }
}

/** What --json tells. docs/cli.md describes the fields. */
function report(flags: Flags, out: string, { bytesBefore, bytesAfter, ...names }: Quantization, change?: Divergence) {
  const { weights, calibrated } = names
  const counts = { weights: weights.length, calibrated: calibrated.length }
  const evaluation = change && {
    tokens: change.tokens,
    perplexity: { before: change.reference, after: change.perplexity },
    kl: change.kl,
    agreement: change.agreement,
  }
  return { model: modelName(flags), out, dtype: flags.dtype, ...counts, bytesBefore, bytesAfter, evaluation }
}

function summary(out: string, quantization: Quantization, change: Divergence | undefined): string {
  const { bytesBefore, bytesAfter, weights, calibrated } = quantization
  const how = calibrated.length > 0 ? `${weights.length}, ${calibrated.length} of them calibrated` : `${weights.length}`
  return table([
    ["weights", how],
    ["bytes", `${formatBytes(bytesAfter)} instead of ${formatBytes(bytesBefore)}`],
    ...changeRows(change),
    ["use it with", `gemlet generate --model ${shellWord(out)}`],
  ])
}

function changeRows(change: Divergence | undefined): string[][] {
  if (!change) return [["perplexity", "not measured; --evaluate FILE does"]]
  const { perplexity, reference, kl, agreement } = change
  const more = (100 * (perplexity / reference - 1)).toFixed(2)
  return [
    ["perplexity", `${perplexity.toFixed(3)} instead of ${reference.toFixed(3)} (${more} % more)`],
    ["KL divergence", `${kl.toFixed(4)} nats per token`],
    ["same likeliest token", `${(100 * agreement).toFixed(1)} %`],
  ]
}
