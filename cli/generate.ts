import type { Command } from "commander"
import type { GenerationOptions, Piece, Tokenizer, TokenLogProbability } from "../src/index.ts"
import { addDraftOptions, checkDraft, type DraftFlags, draftOptions, loadDraft } from "./draft.ts"
import { addPromptsOptions, checkPrompts, generatePrompts, type PromptsFlags } from "./generate_prompts.ts"
import { readInput, readTextFile } from "./input.ts"
import { interruptible } from "./interrupt.ts"
import { logprobsJson, logprobsTable } from "./logprobs.ts"
import { loadModel } from "./model.ts"
import {
  addJsonOption,
  addModelOptions,
  addPrefixCacheOption,
  addSamplingOptions,
  generationOptions,
  type ModelFlags,
  parseIds,
  type SamplingFlags,
  whole,
} from "./options.ts"
import { answerJson, note, printAnswer, printJson, statLine } from "./output.ts"

interface Flags extends ModelFlags, SamplingFlags, DraftFlags, PromptsFlags {
  readonly ids?: number[]
  readonly schema?: string
  readonly logprobs?: number
  readonly echo?: boolean
  readonly stats?: boolean
}

const EXAMPLES = `
Examples:
  gemlet generate "Once upon a time"
  gemlet generate "Once upon a time" --echo --seed 7 --temperature 0.9
  echo "One day, a fox" | gemlet generate --max-tokens 60
  gemlet generate --model google/gemma-3-270m "The sea is" --greedy --stop .
  gemlet generate "Lily is" --schema person.json --seed 7
  gemlet generate "The sea is" --logprobs 3 -n 8
  gemlet generate --adapter path/to/adapter "Once upon a time"
  gemlet generate --model path/to/checkpoint --ids 2,513,528,351 --json
  gemlet generate --prompts prompts.txt --parallel 8 > answers.jsonl`

export function define(command: Command): void {
  command
    .description("Continues a text. What the model writes goes to stdout as it comes.")
    .argument("[prompt]", "the text to continue; - or nothing reads it from stdin")
    .option("--ids <ids>", "token ids instead of a text, such as 2,513,528", parseIds)
  addPromptsOptions(command)
  addSamplingOptions(addDraftOptions(addPrefixCacheOption(addModelOptions(command))))
    .option("--schema <file>", "answer with JSON of this JSON schema; a file of true: with any object")
    .option(
      "--logprobs <n>",
      "tell each token's log-probability and the n likeliest tokens",
      whole("--logprobs", 0, 20),
    )
  addJsonOption(command, "print one object with the text, tokens, timings and GPU bytes")
    .option("--echo", "print the prompt before the answer")
    .option("--stats", "print tokens per second on stderr afterwards")
    .addHelpText("after", EXAMPLES)
    .action(generate)
}

async function generate(text: string | undefined, flags: Flags): Promise<void> {
  checkDraft(flags)
  checkPrompts(text, flags)
  const schema = flags.schema === undefined ? undefined : await readSchema(flags.schema)
  const asked = { ...generationOptions(flags), schema, logprobs: flags.logprobs }
  if (flags.prompts !== undefined) return generatePrompts(flags.prompts, flags, asked)
  const prompt = await readInput("prompt", { text, ids: flags.ids })
  await interruptible(async (signal) => {
    const loaded = await loadModel(flags, signal)
    await using lm = loaded.lm
    await using draft = await loadDraft(lm, flags, signal)
    const generation = lm.generate(prompt, { ...asked, ...draftOptions(flags, draft), signal })
    const print = flags.json ? () => {} : printer(lm.tokenizer !== undefined)
    if (flags.echo) print(asPiece(prompt, lm.tokenizer))
    const began = performance.now()
    const logprobs: TokenLogProbability[] = []
    let firstTokenMs: number | undefined
    try {
      for await (const piece of generation) {
        firstTokenMs ??= performance.now() - began
        logprobs.push(...(piece.logprobs ?? []))
        print(piece)
      }
    } finally {
      print(undefined)
    }
    const told = flags.logprobs !== undefined
    if (flags.json) {
      const answer = answerJson(loaded, generation, firstTokenMs)
      printJson(told ? { ...answer, logprobs: logprobsJson(logprobs, lm.tokenizer) } : answer)
    } else if (told) printAnswer(`\n${logprobsTable(logprobs, lm.tokenizer)}\n`)
    if (flags.stats) note(statLine(generation))
  })
}

/** The schema itself is checked by the library, with the place of what is wrong. */
async function readSchema(path: string): Promise<GenerationOptions["schema"]> {
  const text = await readTextFile(path)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new SyntaxError(`${path}: text is malformed, expected JSON (${(error as Error).message})`)
  }
}

function asPiece(prompt: string | number[], tokenizer: Tokenizer | undefined): Piece {
  if (typeof prompt === "string") return { text: prompt, tokens: [] }
  return { text: tokenizer?.decode(prompt) ?? "", tokens: prompt }
}

/** Writes pieces to stdout and ends the last line: as text, or as ids where there is no tokenizer. */
function printer(asText: boolean): (piece: Piece | undefined) => void {
  let last = ""
  return (piece) => {
    let text = "\n"
    if (piece) text = asText ? piece.text : piece.tokens.map((id, i) => (last || i ? `,${id}` : `${id}`)).join("")
    if (text === "" || (!piece && (last === "" || last.endsWith("\n")))) return
    printAnswer(text)
    last = text
  }
}
