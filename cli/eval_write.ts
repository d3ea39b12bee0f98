import { basename, dirname } from "node:path"
import type { Command } from "commander"
import { evalData, examples, findTasks, type Wanted } from "../src/eval/index.ts"
import { directoryStore, evalSources } from "../src/index.ts"
import { parseDepths, parseLengths } from "./eval_options.ts"
import { interruptible } from "./interrupt.ts"
import { loadModel } from "./model.ts"
import { addCheckpointOptions, addDeviceOption, type ModelFlags, whole } from "./options.ts"
import { formatCount, note } from "./output.ts"
import { NO_CACHE } from "./training.ts"

interface Flags extends ModelFlags {
  readonly lengths?: number[]
  readonly depths?: number[]
  readonly samples?: number
  readonly seed: number
  readonly data?: string
  readonly out: string
}

const EXAMPLES = `
Lengths are in the tokens of the model that is to learn. Measure with another seed than the one here.

Examples:
  gemlet eval write niah_magic --lengths 128,256 --depths 0:100:10 --samples 20 --out needles.jsonl
  gemlet tune --data needles.jsonl --out needles
  gemlet eval niah_magic --adapter needles --lengths 128,256 --out tuned`

export function define(command: Command): void {
  command
    .description("Writes instances with their answers, one a line: data for gemlet tune.")
    .argument("<tasks...>", "of what (gemlet eval list tells all)")
  addDeviceOption(addCheckpointOptions(command))
    .optionsGroup("Instances:")
    .option("--lengths <list>", "tokens of prompt and answer together: 256,1k", parseLengths)
    .option("--depths <list>", "where to hide what is to be found, in percent: 0,50,100 or 0:100:10", parseDepths)
    .option("--samples <n>", "instances of each kind", whole("--samples", 1))
    .option("-s, --seed <n>", "of which instances there are", whole("--seed", 0), 1)
    .option("--data <folder>", "texts of your own before those that come with gemlet")
    .requiredOption("-o, --out <file>", "where to write them, .jsonl: whole or not at all")
    .addHelpText("after", EXAMPLES)
    .action((names: string[], flags: Flags) => interruptible((signal) => write(names, flags, signal)))
}

async function write(names: readonly string[], flags: Flags, signal: AbortSignal): Promise<void> {
  const { model, revision, ignoreKey, device, lengths, depths, samples, seed, data, out } = flags
  const request = { ...(lengths && { lengths }), ...(depths && { depths }), ...(samples && { samples }) }
  const wanted: Wanted[] = names.flatMap((name) => findTasks(name).map((task) => ({ task, request })))
  const { lm } = await loadModel({ model, revision, ignoreKey, device, context: NO_CACHE }, signal)
  try {
    const { name, tokenizer, config } = lm
    const learner = { name, tokenizer, context: config.maxPositions }
    let count = 0
    const lines = async function* () {
      for await (const record of examples(wanted, { model: learner, data: evalData(evalSources(data)), seed })) {
        signal.throwIfAborted()
        count++
        yield new TextEncoder().encode(`${JSON.stringify(record)}\n`)
      }
    }
    await directoryStore(dirname(out)).write(basename(out), lines())
    note(`${out}: ${formatCount(count)} records`)
  } finally {
    await lm.dispose()
  }
}
