import type { Command } from "commander"
import { addJsonOption, addModelOptions, type ModelFlags, oneOf, whole } from "./options.ts"

/** What `gemlet eval` and its suites are told. */
export interface EvalFlags extends ModelFlags {
  readonly lengths?: number[]
  readonly depths?: number[]
  readonly samples?: number
  readonly seed: number
  readonly maxTokens?: number
  readonly format?: "chat" | "text"
  readonly data?: string
  readonly out?: string
  readonly prompts: boolean
  readonly shard?: { readonly index: number; readonly of: number }
  readonly parallel: number
}

export function addEvalOptions(command: Command): Command {
  addModelOptions(command)
    .optionsGroup("Instances:")
    .option("--lengths <list>", "tokens of prompt and answer together: 256,1k,32k", parseLengths)
    .option("--depths <list>", "where to hide what is to be found, in percent: 0,50,100 or 0:100:10", parseDepths)
    .option("--samples <n>", "instances of each kind", whole("--samples", 1))
    .option("-s, --seed <n>", "of which instances there are", whole("--seed", 0), 0)
    .option("-n, --max-tokens <n>", "of an answer (default: the task's)", whole("--max-tokens", 1))
    .option(
      "--format <name>",
      "chat, through the model's template, or text (default: as the model can)",
      oneOf("--format", ["chat", "text"]),
    )
    .option("--data <folder>", "texts of your own before those that come with gemlet")
  return addJsonOption(command, "print one object with all means")
    .option("-o, --out <folder>", "where results are kept, and where a stopped run goes on")
    .option("--no-prompts", "do not keep what the prompts were")
    .option("--shard <i/n>", "only part i of n, for several machines", parseShard)
    .option("--parallel <n>", "answers underway at once", whole("--parallel", 1, 64), 1)
}

/** Reads `256,1k,32k`. */
export function parseLengths(text: string): number[] {
  return listOf("--lengths", text, (part) => {
    const [, digits, kilo] = /^(\d+)(k?)$/i.exec(part) ?? []
    const length = Number(digits) * (kilo ? 1024 : 1)
    if (digits && Number.isSafeInteger(length) && length > 0) return [length]
    throw new RangeError(`--lengths: length is ${JSON.stringify(part)}, expected tokens such as 256 or 32k`)
  })
}

/** Reads `0,50,100` or `0:100:10`. */
export function parseDepths(text: string): number[] {
  return listOf("--depths", text, (part) => {
    const [from, to = from, step = "10"] = part.split(":")
    const [a, b, by] = [from, to, step].map((each) => (each?.trim() ? Number(each) : Number.NaN))
    if (!(a! >= 0 && a! <= b! && b! <= 100 && by! > 0)) {
      throw new RangeError(`--depths: is ${JSON.stringify(part)}, expected percents such as 50, or from:to:step`)
    }
    const depths: number[] = []
    for (let i = 0; a! + i * by! <= b! + 1e-9; i++) depths.push(Number((a! + i * by!).toFixed(6)))
    return depths
  })
}

function parseShard(text: string): NonNullable<EvalFlags["shard"]> {
  const [index, of] = text.split("/").map(Number)
  if (/^\d+\/\d+$/.test(text) && index! >= 1 && index! <= of!) return { index: index!, of: of! }
  throw new RangeError(`--shard: is ${JSON.stringify(text)}, expected i/n with i from 1 to n`)
}

function listOf(flag: string, text: string, read: (part: string) => number[]): number[] {
  const found = text.split(",").flatMap((part) => read(part.trim()))
  const twice = found.find((each, i) => found.indexOf(each) !== i)
  if (twice === undefined) return found
  throw new RangeError(`${flag}: ${twice} is there twice, expected once`)
}
