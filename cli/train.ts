import { existsSync } from "node:fs"
import type { Command } from "commander"
import { directoryStore, type Folder, open, randomCheckpoint } from "../src/index.ts"
import { readTextFile } from "./input.ts"
import { type LoadedModel, loadModel } from "./model.ts"
import { NO_CACHE, type Run, runTraining } from "./training.ts"
import {
  addDataOptions,
  addMemoryOptions,
  addOptimizationOptions,
  addRunOptions,
  addTrainingJsonOption,
  type TrainingFlags,
  tuneOptions,
} from "./training_options.ts"
import { commandLine } from "./training_report.ts"

interface Flags extends TrainingFlags {
  readonly config?: string
  readonly tokenizer?: string
}

const STEPS = 1000
const RATE = 2e-3
const WEIGHT_DECAY = 0.1
const BETA2 = 0.95
const DEFAULTS = {
  steps: `${STEPS}`,
  lr: `${RATE}`,
  warmup: "5 % of all",
  weightDecay: `${WEIGHT_DECAY}`,
  beta2: `${BETA2}`,
}

const EXAMPLES = `
The config is a config.json as Hugging Face's models have: its vocabulary must hold the tokenizer's.

Examples:
  gemlet train --config tiny.json --data stories/
  gemlet train --config tiny.json --tokenizer google/gemma-3-270m --data stories/ --steps 20000 --batch 16 --out tiny
  gemlet train --resume --out tiny
  gemlet generate --model tiny "Once upon a time"`

export function define(command: Command): void {
  command
    .description("Trains a new model: weights begin at random, and the folder it leaves loads like any checkpoint.")
    .optionsGroup("Model:")
    .option("--config <file>", "config.json of the model to train")
    .option("--tokenizer <location>", "a folder with a tokenizer, or a Hub id (default: storyteller's)")
  addDataOptions(addRunOptions(command, "model"))
  addTrainingJsonOption(addMemoryOptions(addOptimizationOptions(command, DEFAULTS)))
    .addHelpText("after", EXAMPLES)
    .action((_flags: Flags, command: Command) =>
      runTraining<Flags>(command, {
        defaultOut: () => "model",
        paths: ["config", "tokenizer", "data", "heldOut"],
        options: ({ steps = STEPS, lr = RATE, warmup = Math.floor(steps / 20), ...flags }) => {
          const adamw = flags.optimizer === "sgd" ? {} : { beta2: BETA2 }
          return tuneOptions({ method: "full", weightDecay: WEIGHT_DECAY, ...adamw, ...flags, steps, lr, warmup })
        },
        load,
        use: ({ out }) => commandLine(["gemlet", "generate", '"Once upon a time"'], { "--model": out }),
      }),
    )
}

/** Weights at random, or, of a run that is resumed, its folder: the run knows how far they are. */
async function load({ flags, out, resumed }: Run<Flags>, signal: AbortSignal): Promise<LoadedModel> {
  const location = resumed ? directoryStore(out) : await randomModel(flags, signal)
  const { device = "auto" } = flags
  const loaded = await loadModel({ device, context: NO_CACHE }, signal, { location, dtype: "f32" })
  return { ...loaded, name: flags.config ?? out }
}

async function randomModel({ config, tokenizer, seed }: Flags, signal: AbortSignal): Promise<Folder> {
  if (config === undefined) throw new RangeError("--config: is missing, expected the config.json of a model")
  const json = parseConfig(config, await readTextFile(config))
  const isFolder = tokenizer !== undefined && existsSync(tokenizer)
  const folder = isFolder ? directoryStore(tokenizer) : (await open(tokenizer, { signal })).folder
  try {
    return await randomCheckpoint(json, { seed, tokenizer: folder })
  } finally {
    await folder.close?.()
  }
}

function parseConfig(path: string, text: string): object {
  try {
    const json = JSON.parse(text)
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return json
  } catch (error) {
    throw new SyntaxError(`${path}: text is malformed, expected JSON (${(error as Error).message})`)
  }
  throw new TypeError(`${path}: content is something else, expected an object`)
}
