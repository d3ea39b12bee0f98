import { type Command, Option } from "commander"
import {
  ACT_QUANTS,
  type ActQuant,
  CACHE_DTYPES,
  type CacheDtype,
  DEVICE_KINDS,
  type DeviceKind,
  type GenerationOptions,
  WEIGHT_PRECISIONS,
  type WeightPrecision,
} from "../src/index.ts"

/** Which checkpoint, for every command. */
export interface CheckpointFlags {
  readonly model?: string
  readonly revision?: string
  readonly ignoreKey?: string[]
  readonly json?: boolean
}

/** How a model is loaded. */
export interface ModelFlags extends CheckpointFlags {
  readonly device: DeviceKind
  readonly context?: number
  readonly chunk?: number
  readonly adapter?: string[]
  readonly actQuant?: ActQuant
  readonly dtype?: WeightPrecision
  readonly cacheDtype?: CacheDtype
  readonly prefixCache?: string
}

/** How tokens are drawn. */
export interface SamplingFlags {
  readonly maxTokens?: number
  readonly temperature?: number
  readonly greedy?: boolean
  readonly topK?: number
  readonly topP?: number
  readonly minP?: number
  readonly repetitionPenalty?: number
  readonly seed?: number
  readonly stop?: string[]
  readonly ignoreEos?: boolean
  readonly overflow: "error" | "shift"
}

export function addCheckpointOptions(command: Command): Command {
  return command
    .optionsGroup("Model:")
    .option(
      "-m, --model <location>",
      "a checkpoint folder or GGUF file, a URL of one, or a Hub id such as google/gemma-3-270m-it",
    )
    .option("--revision <name>", "branch, tag or commit of a Hub id")
    .option(
      "--ignore-key <key>",
      "treat a key of config.json as absent, at your own risk (repeatable)",
      collect("--ignore-key"),
    )
}

export function addModelOptions(command: Command): Command {
  return addDeviceOption(addPrecisionOptions(addContextOptions(addAdapterOption(addCheckpointOptions(command)))))
}

export function addAdapterOption(command: Command): Command {
  return command.option(
    "--adapter <folder>",
    "a PEFT adapter to put on the model (repeatable: several add up)",
    collect("--adapter"),
  )
}

export function addPrecisionOptions(command: Command): Command {
  return addCacheDtypeOption(
    addDtypeOption(command).addOption(
      new Option(
        "--act-quant <how>",
        "activations of ternary layers: int8, as they were trained (the default), or none, as they are",
      ).argParser(oneOf("--act-quant", ACT_QUANTS)),
    ),
  )
}

export function addCacheDtypeOption(command: Command): Command {
  return command.addOption(
    new Option(
      "--cache-dtype <type>",
      "keys and values: f32 (the default), or q8, in eight bits and a quarter of the memory",
    ).argParser(oneOf("--cache-dtype", CACHE_DTYPES)),
  )
}

export function addDtypeOption(command: Command): Command {
  return command.addOption(
    new Option(
      "--dtype <type>",
      "weights on the GPU: stored (the default), f32, bf16, f16, or rounded in blocks of 32 to q8 or q4",
    ).argParser(oneOf("--dtype", WEIGHT_PRECISIONS)),
  )
}

export function addDeviceOption(command: Command): Command {
  return command.addOption(
    new Option("-d, --device <kind>", `what computes: ${DEVICE_KINDS.join(", ")}`)
      .argParser(oneOf("--device", DEVICE_KINDS))
      .default("auto"),
  )
}

export function addContextOptions(command: Command): Command {
  return command
    .option(
      "-c, --context <n>",
      "positions to keep, prompt and answer together (default: 4096, or the model's limit if less)",
      whole("--context", 2),
    )
    .option("--chunk <n>", "tokens of a prompt to compute at once (default: 128)", whole("--chunk", 1, 65535))
}

export function addPrefixCacheOption(command: Command): Command {
  return command.option(
    "--prefix-cache <folder>",
    "keep what was computed of long prompts here, and go on from it (up to 2 GiB)",
  )
}

export function addSamplingOptions(command: Command): Command {
  return command
    .optionsGroup("Sampling (by default as the checkpoint recommends):")
    .option("-n, --max-tokens <n>", "the most tokens to generate", whole("--max-tokens", 1))
    .option("-s, --seed <n>", "the same seed on the same device gives the same text", whole("--seed", 0))
    .option(
      "-t, --temperature <t>",
      "0 takes the likeliest token",
      decimal("--temperature", "from 0 to 1000", inside(0, 1000)),
    )
    .addOption(new Option("--greedy", "the same as --temperature 0").conflicts("temperature"))
    .option("--top-k <k>", "keep the k likeliest tokens; 0 keeps all", whole("--top-k", 0, 2 ** 31))
    .option(
      "--top-p <p>",
      "keep the likeliest tokens that together have this probability",
      decimal("--top-p", "above 0 and at most 1", (p) => p > 0 && p <= 1),
    )
    .option(
      "--min-p <p>",
      "keep tokens at least this fraction as likely as the likeliest",
      decimal("--min-p", "at least 0 and below 1", (p) => p >= 0 && p < 1),
    )
    .option(
      "--repetition-penalty <r>",
      "above 1 makes tokens that came before less likely",
      decimal("--repetition-penalty", "above 0 and at most 1000", (r) => r > 0 && r <= 1000),
    )
    .option("--stop <text>", "end before this text (repeatable)", collect("--stop"))
    .option("--ignore-eos", "go on past the model's end tokens")
    .addOption(
      new Option("--overflow <what>", "when the context is full: error, or shift to drop the oldest half and go on")
        .argParser(oneOf("--overflow", ["error", "shift"]))
        .default("error"),
    )
}

export function addJsonOption(command: Command, description: string): Command {
  return command.optionsGroup("Output:").option("--json", description)
}

/** The library's options of the flags. */
export function generationOptions({ greedy, ...flags }: SamplingFlags): GenerationOptions {
  const { maxTokens, topK, topP, minP, repetitionPenalty, seed, stop, ignoreEos, overflow } = flags
  const temperature = greedy ? 0 : flags.temperature
  return { maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stop, ignoreEos, overflow }
}

/** Reads `2,513,528`. */
export function parseIds(text: string): number[] {
  return text.split(/[\s,]+/).map((id) => {
    if (/^\d+$/.test(id) && Number.isSafeInteger(Number(id))) return Number(id)
    throw new RangeError(`--ids: id is ${show(id)}, expected whole numbers such as 2,513,528`)
  })
}

/** Reads a whole number. Values are checked before a model is loaded, which may take long. */
export function whole(flag: string, least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`
  return parser(flag, `a whole number ${range}`, (n) => Number.isSafeInteger(n) && inside(least, most)(n))
}

/** Reads a number of a range that `valid` knows. */
export function decimal(flag: string, range: string, valid: (value: number) => boolean): (text: string) => number {
  return parser(flag, `a number ${range}`, valid)
}

function parser(flag: string, expected: string, valid: (value: number) => boolean): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text)
    if (valid(value)) return value
    throw new RangeError(`${flag}: value is ${show(text)}, expected ${expected}`)
  }
}

export function inside(least: number, most: number): (value: number) => boolean {
  return (value) => value >= least && value <= most
}

/** Reads one of some words. */
export function oneOf<T extends string>(flag: string, values: readonly T[]): (text: string) => T {
  return (text) => {
    const value = values.find((each) => each === text)
    if (value !== undefined) return value
    throw new RangeError(`${flag}: value is ${show(text)}, expected one of ${values.join(", ")}`)
  }
}

/** An option that may be given several times. */
export function collect(flag: string): (text: string, before?: string[]) => string[] {
  return (text, before = []) => {
    if (text === "") throw new RangeError(`${flag}: value is "", expected some text`)
    return [...before, text]
  }
}

/** A value as the user wrote it, cut where it is long. */
export function show(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text)
}
