import type { Command } from "commander"
import type { Score, Tokenizer } from "../src/index.ts"
import { readInput } from "./input.ts"
import { interruptible } from "./interrupt.ts"
import { loadModel } from "./model.ts"
import { addJsonOption, addModelOptions, type ModelFlags, parseIds } from "./options.ts"
import { formatCount, printJson, table } from "./output.ts"

interface Flags extends ModelFlags {
  readonly ids?: number[]
  readonly file?: string
  readonly tokens?: boolean
}

const EXAMPLES = `
Examples:
  gemlet score "Once upon a time there was a little girl."
  gemlet score --file story.txt --context 2048
  gemlet score "The cat sat on the moon." --tokens
  gemlet score --file story.txt --adapter path/to/adapter
  gemlet score --model path/to/checkpoint --ids 2,513,528,351 --json`

export function define(command: Command): void {
  command
    .description("Tells how probable a text is to a model: log-probabilities and perplexity.")
    .argument("[text]", "the text; - or nothing reads it from stdin")
    .option("--file <path>", "a text file, read exactly as it is")
    .option("--ids <ids>", "token ids instead of a text, such as 2,513,528", parseIds)
  addModelOptions(command)
  addJsonOption(command, "print one object with every token's log-probability")
    .option("--tokens", "list every token with its log-probability")
    .addHelpText("after", EXAMPLES)
    .action(score)
}

async function score(text: string | undefined, flags: Flags): Promise<void> {
  const input = await readInput("text", { text, ids: flags.ids, file: flags.file })
  await interruptible(async (signal) => {
    const { lm: model, name, adapters, loadMs } = await loadModel(flags, signal)
    await using lm = model
    const began = performance.now()
    const result = await lm.score(input)
    const scoreMs = performance.now() - began
    const bytes = scoredBytes(input, result, lm.tokenizer)
    const bitsPerByte = bytes && (result.loss * result.logProbs.length) / Math.LN2 / bytes
    if (flags.json) {
      const { tokens, logProbs, loss, perplexity } = result
      const { description: device, software } = lm.device
      const numbers = { loss, perplexity, bitsPerByte, bytes, tokens, logProbs: [...logProbs] }
      printJson({
        model: name,
        adapters,
        device,
        software,
        ...numbers,
        timings: { loadMs, scoreMs },
        memory: lm.memory,
      })
      return
    }
    if (flags.tokens) process.stdout.write(`${tokenTable(result, lm.tokenizer)}\n\n`)
    process.stdout.write(`${summary(result, bitsPerByte)}\n`)
  })
}

/** UTF-8 bytes of what the log-probabilities are about: all but a first token that is text itself. */
function scoredBytes(
  input: string | number[],
  { tokens }: Score,
  tokenizer: Tokenizer | undefined,
): number | undefined {
  if (!tokenizer) return undefined
  const bytes = (text: string) => new TextEncoder().encode(text).byteLength
  const all = bytes(typeof input === "string" ? input : tokenizer.decode(tokens))
  return all - bytes(tokenizer.decode(tokens.slice(0, 1))) || undefined
}

function tokenTable({ tokens, logProbs }: Score, tokenizer: Tokenizer | undefined): string {
  const rows = tokens.map((id, i) => [
    `${i}`,
    `${id}`,
    i === 0 ? "given" : logProbs[i - 1]!.toFixed(4),
    tokenizer ? JSON.stringify(tokenizer.idToToken(id) ?? "") : "",
  ])
  return table([["position", "id", "log-prob", tokenizer ? "token" : ""], ...rows], { right: [0, 1, 2] })
}

function summary({ tokens, logProbs, loss, perplexity }: Score, bitsPerByte: number | undefined): string {
  return table([
    ["tokens", `${formatCount(tokens.length)}, ${formatCount(logProbs.length)} of them scored`],
    ["loss", `${loss.toFixed(4)} nats per token`],
    ["perplexity", perplexity.toFixed(3)],
    ...(bitsPerByte === undefined ? [] : [["bits per byte", bitsPerByte.toFixed(4)]]),
  ])
}
