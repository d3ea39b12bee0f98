import { type Command, Option } from "commander"
import {
  answerSeed,
  type Generation,
  type GenerationOptions,
  type LanguageModel,
  type Prompt,
  type Tokenizer,
  type TokenLogProbability,
} from "../src/index.ts"
import { isUserError } from "./errors.ts"
import { interruptible } from "./interrupt.ts"
import { logprobsJson } from "./logprobs.ts"
import { loadModel } from "./model.ts"
import { type ModelFlags, whole } from "./options.ts"
import { note, printJsonLine } from "./output.ts"
import { type PromptLine, readPrompts } from "./prompts.ts"

/** Many prompts instead of one. */
export interface PromptsFlags {
  readonly prompts?: string
  readonly parallel?: number
}

/** Answers that are underway at once. */
const PARALLEL = 4

export function addPromptsOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--prompts <file>",
        "many prompts: one a line, or of .jsonl { prompt } or { messages }; - reads stdin. Prints an object a line",
      ).conflicts(["ids", "echo", "draft"]),
    )
    .option(
      "--parallel <n>",
      `of those, how many are answered at once (default: ${PARALLEL})`,
      whole("--parallel", 1, 64),
    )
}

/** Fails where flags do not go together, before anything is loaded. */
export function checkPrompts(text: string | undefined, { prompts, parallel }: PromptsFlags): void {
  if (prompts === undefined && parallel !== undefined) {
    throw new RangeError("--parallel: --prompts is missing, expected a file of prompts")
  }
  if (prompts !== undefined && text !== undefined) {
    throw new RangeError("prompt: given by a text and --prompts, expected one of them")
  }
}

/**
 * Answers the prompts of a file, some at a time, and prints an object for each in their order, each as soon as it can be. When
 * something ends it, what was whole by then is printed.
 */
export async function generatePrompts(
  path: string,
  { parallel = PARALLEL, stats, ...flags }: PromptsFlags & ModelFlags & { readonly stats?: boolean },
  options: GenerationOptions,
): Promise<void> {
  const lines = await readPrompts(path)
  await interruptible(async (signal) => {
    const atOnce = Math.min(parallel, lines.length)
    const loaded = await loadModel(flags, signal, { sequences: atOnce })
    await using lm = loaded.lm
    const answers = prepare(lm, lines, { ...options, signal })
    const began = performance.now()
    let tokens = 0
    await inOrder(answers, atOnce, (answer, index) => {
      printJsonLine(answerLine(index, lines[index]!.prompt, answer, lm.tokenizer))
      tokens += answer.generation.tokens.length
    })
    const rate = (tokens * 1000) / (performance.now() - began)
    if (stats) note(`${lines.length} prompts, ${tokens} tokens at ${rate.toFixed(1)} per second, ${atOnce} at once`)
  })
}

/** An answer underway, and what is known of its tokens so far. */
interface Answer {
  readonly generation: Generation
  readonly logprobs: TokenLogProbability[]
}

/** All of them before the first begins, so that a prompt that cannot be answered is told at once. */
function prepare(lm: LanguageModel, lines: readonly PromptLine[], options: GenerationOptions): Answer[] {
  lm.generate([0], { ...options, maxTokens: 1 }) // what is wrong with the options is no line's fault
  return lines.map(({ prompt, where }, index) => {
    const seed = options.seed === undefined ? undefined : answerSeed(options.seed, index)
    try {
      return { generation: lm.generate(prompt, { ...options, seed }), logprobs: [] }
    } catch (error) {
      if (!isUserError(error)) throw error
      const what = (error as Error).message.replace(/^(generate|prompt): /, "")
      throw new RangeError(`${where}: ${what}`, { cause: error })
    }
  })
}

/** Has so many answers underway, and tells each that is whole when all before it were told. An answer is let go then. */
async function inOrder(
  answers: readonly Answer[],
  atOnce: number,
  tell: (answer: Answer, index: number) => void,
): Promise<void> {
  const held = new Map(answers.entries())
  const isWhole = ({ generation }: Answer) => generation.finishReason !== undefined
  let next = 0
  let told = 0
  const tellWhole = () => {
    for (let answer = held.get(told); answer && isWhole(answer); answer = held.get(++told)) {
      held.delete(told)
      tell(answer, told)
    }
  }
  const work = async () => {
    try {
      while (next < answers.length) {
        await finish(held.get(next++)!)
        tellWhole()
      }
    } finally {
      next = answers.length // one that fails has the others begin no more
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: atOnce }, work))
  for (const [index, answer] of held) if (isWhole(answer)) tell(answer, index)
  for (const end of ends) if (end.status === "rejected") throw end.reason
}

async function finish({ generation, logprobs }: Answer): Promise<void> {
  for await (const piece of generation) logprobs.push(...(piece.logprobs ?? []))
}

/** docs/cli.md describes the fields. */
function answerLine(
  index: number,
  prompt: Prompt,
  { generation, logprobs }: Answer,
  tokenizer: Tokenizer | undefined,
): object {
  const { text, tokens, finishReason, timings, sampling } = generation
  const conversation = Array.isArray(prompt) && typeof prompt[0] === "object"
  return {
    index,
    ...(conversation ? { messages: prompt } : { prompt }),
    text,
    tokens,
    promptTokens: timings.promptTokens,
    reusedTokens: timings.reusedTokens,
    finishReason,
    seed: sampling.seed,
    ...(logprobs.length > 0 ? { logprobs: logprobsJson(logprobs, tokenizer) } : {}),
  }
}
