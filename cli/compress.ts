import type { Command } from "commander"
import {
  type Compression,
  type CompressOptions,
  compress,
  directoryStore,
  formatBytes,
  inputMoments,
  type LanguageModel,
  type RankRule,
} from "../src/index.ts"
import { interruptible } from "./interrupt.ts"
import { loadModel, modelName, openModel } from "./model.ts"
import {
  addCheckpointOptions,
  addContextOptions,
  addDeviceOption,
  addJsonOption,
  decimal,
  type ModelFlags,
  oneOf,
  show,
} from "./options.ts"
import { expectOutFolder } from "./out_folder.ts"
import { printJson, shellWord, table } from "./output.ts"
import { Line } from "./status_line.ts"
import { pieces, readSome } from "./texts.ts"

interface Flags extends ModelFlags {
  readonly method: "svd"
  readonly rank?: RankRule
  readonly energy?: number
  readonly modules?: string | string[]
  readonly calibrate?: string
  readonly evaluate?: string
  readonly out?: string
  readonly force?: boolean
}

/** What the model says about the texts before anything is lost. */
interface Measured {
  readonly moments: CompressOptions["moments"]
  readonly perplexity: number | undefined
}

interface Perplexity {
  readonly before: number
  readonly after: number
}

/** Lines of the calibration file that the perplexity is on where no other file is given. */
const FEW = 16

const EXAMPLES = `
Examples:
  gemlet compress --rank 0.25 --out small
  gemlet compress --model google/gemma-3-270m --energy 0.95 --modules gate_proj,up_proj,down_proj --out small
  gemlet compress --rank 64 --calibrate stories.txt --evaluate story.txt --out small
  gemlet generate --model small "Once upon a time"`

export function define(command: Command): void {
  command.description(
    "Factorises a model's linear layers: a checkpoint folder with low-rank ones. Needs a GPU only for --calibrate and --evaluate.",
  )
  addDeviceOption(addContextOptions(addCheckpointOptions(command)))
    .optionsGroup("Layers:")
    .option("--method <name>", "svd: the nearest product of a rank (default: svd)", oneOf("--method", ["svd"]), "svd")
    .option("-r, --rank <r>", "a share of each layer's smaller side such as 0.25, or a multiple of 4", rank)
    .option(
      "--energy <share>",
      "instead of a rank: the least that keeps this share of a layer's squared singular values",
      decimal("--energy", "above 0 and at most 1", (share) => share > 0 && share <= 1),
    )
    .option(
      "--modules <what>",
      "layers to factorise: names such as q_proj,v_proj or a regular expression over paths (default: all of the blocks)",
      modules,
    )
    .optionsGroup("Texts:")
    .option("--calibrate <path>", "a text file: keep what layers give on it, instead of what their weights are")
    .option(
      "--evaluate <path>",
      `a text file: tell the perplexity on it before and after (default: the first ${FEW} lines of --calibrate)`,
    )
  addJsonOption(command, "print one object: every layer, the bytes, the perplexity")
    .option("-o, --out <folder>", "where to write the checkpoint")
    .option("--force", "write into a folder that is not empty")
    .addHelpText("after", EXAMPLES)
    .action(compressModel)
}

async function compressModel(flags: Flags): Promise<void> {
  const { model, out, force } = flags
  const rule = rankRule(flags)
  if (out === undefined) throw new RangeError("--out: is missing, expected a folder to write the checkpoint into")
  await expectOutFolder(out, { force, read: [model], otherwise: "--force writes into it" })
  const texts = await readTexts(flags)
  await interruptible(async (signal) => {
    const { moments, perplexity: before } = await measured(flags, texts, signal)
    const compression = await write(flags, out, { rank: rule, moments }, signal)
    const perplexity = before === undefined ? undefined : { before, after: await after(flags, out, texts, signal) }
    if (flags.json) printJson(report(flags, out, rule, compression, perplexity))
    else process.stdout.write(`${summary(out, compression, perplexity)}\n`)
  })
}

interface Texts {
  readonly calibration: string | undefined
  readonly evaluation: string | undefined
}

async function readTexts({ calibrate, evaluate }: Flags): Promise<Texts> {
  const calibration = await readSome("--calibrate", calibrate)
  const evaluation = await readSome("--evaluate", evaluate)
  const lines = calibration?.split("\n").filter((line) => line.trim() !== "")
  return { calibration, evaluation: evaluation ?? lines?.slice(0, FEW).join("\n") }
}

async function measured(flags: Flags, { calibration, evaluation }: Texts, signal: AbortSignal): Promise<Measured> {
  if (calibration === undefined && evaluation === undefined) return { moments: undefined, perplexity: undefined }
  const { lm } = await loadModel(flags, signal)
  try {
    const perplexity = evaluation === undefined ? undefined : await perplexityOf(lm, evaluation)
    const moments =
      calibration === undefined ? undefined : await inputMoments(lm, pieces(lm, "--calibrate", calibration))
    return { moments, perplexity }
  } finally {
    await lm.dispose()
  }
}

async function after(flags: Flags, out: string, { evaluation }: Texts, signal: AbortSignal): Promise<number> {
  const { lm } = await loadModel(flags, signal, { location: out })
  try {
    return await perplexityOf(lm, evaluation!)
  } finally {
    await lm.dispose()
  }
}

function rankRule({ rank, energy }: Flags): RankRule {
  if (rank && energy !== undefined) throw new RangeError("--rank: is given with --energy, expected one of them")
  if (rank) return rank
  if (energy !== undefined) return { energy }
  throw new RangeError("--rank: is missing, expected it or --energy")
}

async function write(
  flags: Flags,
  out: string,
  options: Pick<CompressOptions, "rank" | "moments">,
  signal: AbortSignal,
): Promise<Compression> {
  const checkpoint = await openModel(flags, signal)
  const line = new Line()
  try {
    const onLayer: CompressOptions["onLayer"] = (layer, done, of) => line.show(`layer ${done} of ${of}: ${layer.path}`)
    const modules = flags.modules === undefined ? undefined : { modules: flags.modules }
    return await compress(checkpoint, directoryStore(out), { ...options, modules, onLayer, signal })
  } finally {
    line.close()
    await checkpoint.close()
  }
}

async function perplexityOf(lm: LanguageModel, text: string): Promise<number> {
  let loss = 0
  let count = 0
  for (const piece of pieces(lm, "--evaluate", text)) {
    const { logProbs } = await lm.score(piece)
    loss -= logProbs.reduce((sum, value) => sum + value, 0)
    count += logProbs.length
  }
  return Math.exp(loss / count)
}

/** What --json tells. docs/cli.md describes the fields. */
function report(
  flags: Flags,
  out: string,
  rank: RankRule,
  { layers, bytesBefore, bytesAfter }: Compression,
  perplexity: Perplexity | undefined,
) {
  const rule = { fraction: null, absolute: null, energy: null, ...rank }
  return { model: modelName(flags), out, method: flags.method, rule, layers, bytesBefore, bytesAfter, perplexity }
}

function summary(out: string, { layers, bytesBefore, bytesAfter }: Compression, perplexity?: Perplexity): string {
  const onOutputs = layers.some(({ outputError }) => outputError !== undefined)
  const rows = layers.map(({ path, shape, rank, error, outputError = 0, bytesBefore, bytesAfter }) => [
    path,
    shape.join(" x "),
    rank === null ? "dense" : `${rank}`,
    error.toFixed(4),
    ...(onOutputs ? [outputError.toFixed(4)] : []),
    bytesAfter === bytesBefore ? formatBytes(bytesBefore) : `${formatBytes(bytesBefore)} -> ${formatBytes(bytesAfter)}`,
  ])
  const totals = [
    ["bytes", `${formatBytes(bytesAfter)} instead of ${formatBytes(bytesBefore)}`],
    ["perplexity", perplexityText(perplexity)],
    ["use it with", `gemlet generate --model ${shellWord(out)}`],
  ]
  const heads = ["layer", "shape", "rank", "error", ...(onOutputs ? ["of outputs"] : []), "size"]
  return `${table([heads, ...rows], { right: [1, 2, 3, 4, 5] })}\n\n${table(totals)}`
}

function perplexityText(perplexity: Perplexity | undefined): string {
  if (!perplexity) return "not measured; --evaluate FILE does"
  return `${perplexity.after.toFixed(3)} instead of ${perplexity.before.toFixed(3)}`
}

/** A share below 1, or a rank. */
function rank(text: string): RankRule {
  const value = text.trim() === "" ? Number.NaN : Number(text)
  if (value > 0 && value < 1) return { fraction: value }
  if (Number.isSafeInteger(value) && value > 0 && value % 4 === 0) return { absolute: value }
  throw new RangeError(`--rank: value is ${show(text)}, expected a share below 1 such as 0.25 or a multiple of 4`)
}

/** Names stand in a list; anything else is a regular expression. */
function modules(text: string): string | string[] {
  const names = text.split(",").map((name) => name.trim())
  return names.every((name) => /^[\w.]+$/.test(name)) ? names : text
}
