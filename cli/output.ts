import type { Generation, Timings } from "../src/index.ts"
import type { LoadedModel } from "./model.ts"

/** Columns side by side, two spaces between; those named in `right` are aligned to the right, as numbers are. */
export function table(
  rows: readonly (readonly string[])[],
  { right = [] }: { right?: readonly number[] } = {},
): string {
  const widths: number[] = []
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  }
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join("  ")
  return rows.map((row) => line(row).trimEnd()).join("\n")
}

/** `3,741,120`. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US")
}

/** A text as a shell reads it back: in quotes where it has to be. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/** Prints an object, indented, but each list of numbers on one line. */
export function printJson(value: unknown): void {
  const numbers = /\[\n\s+([-\d][^"{[\]]*?)\n\s+\]/g // a newline in a text is written as an escape
  const json = JSON.stringify(value, null, 2).replace(numbers, (_, list: string) => `[${list.replace(/\s+/g, " ")}]`)
  process.stdout.write(`${json}\n`)
}

/** Prints an object on one line, one of many. */
export function printJsonLine(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

/**
 * What a model wrote, to stdout as it is; on a terminal without control characters, which could move the cursor or more.
 */
export function printAnswer(text: string): void {
  process.stdout.write(process.stdout.isTTY ? withoutControls(text) : text)
}

/** A text without C0 and C1 control characters, newlines and tabs excepted. */
export function withoutControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "")
}

/** Something beside the result: dim on a terminal. */
export function note(text: string): void {
  process.stderr.write(process.stderr.isTTY && !process.env.NO_COLOR ? `\x1b[2m${text}\x1b[22m\n` : `${text}\n`)
}

/** What --json tells of an answer. docs/cli.md describes the fields. */
export function answerJson({ lm, name, adapters, loadMs }: LoadedModel, generation: Generation, firstTokenMs?: number) {
  const { seed, ...sampling } = generation.sampling
  const { timings } = generation
  return {
    model: name,
    adapters,
    device: lm.device.description,
    software: lm.device.software,
    text: generation.text,
    tokens: generation.tokens,
    promptTokens: timings.promptTokens,
    reusedTokens: timings.reusedTokens,
    draftedTokens: timings.draftedTokens,
    acceptedTokens: timings.acceptedTokens,
    finishReason: generation.finishReason,
    seed,
    sampling,
    timings: {
      loadMs,
      prefillMs: timings.prefillMs,
      firstTokenMs,
      decodeMs: timings.decodeMs,
      hostMsPerToken: timings.hostMsPerToken,
    },
    tokensPerSecond: { prefill: timings.prefillTokensPerSecond, decode: timings.decodeTokensPerSecond },
    dispatchesPerToken: timings.dispatchesPerToken,
    memory: lm.memory,
  }
}

/** `142 tokens at 50.8 per second, prompt of 5 in 152 ms, ended by eos, seed 42`. */
export function statLine({ timings, finishReason, sampling }: Generation): string {
  const known = timings.reusedTokens > 0 ? ` (${timings.reusedTokens} known from before)` : ""
  return [
    `${timings.tokens} tokens at ${timings.decodeTokensPerSecond.toFixed(1)} per second`,
    `prompt of ${timings.promptTokens}${known} in ${timings.prefillMs.toFixed(0)} ms`,
    ...draftLine(timings),
    `ended by ${finishReason ?? "Ctrl-C"}`,
    `seed ${sampling.seed}`,
  ].join(", ")
}

function draftLine({ draftedTokens: drafted, acceptedTokens: accepted }: Timings): string[] {
  return drafted > 0 ? [`${accepted} of ${drafted} drafted tokens accepted`] : []
}
