import { parseRecord } from "../engine.ts"

/** What there is to learn: checked records, as JSON lines. */
export interface Examples {
  readonly lines: string
  readonly count: number
}

/** A text with records, and what errors call it. */
export interface ExampleText {
  readonly name: string
  readonly text: string
}

/** Bytes of files that a page can hold and keep with ease. */
const MOST_BYTES = 64 * 2 ** 20
/** Milliseconds of checking after which the page gets to draw. */
const SLICE = 10

/** The text of a file that was picked or dropped. */
export async function readTextFile(file: File): Promise<ExampleText> {
  const { name, size } = file
  if (!isExampleFile(name)) throw new RangeError(`${name}: ending is another, expected .jsonl, .txt or .md`)
  if (size > MOST_BYTES) throw new RangeError(`${name}: size is ${size} bytes, expected at most ${MOST_BYTES}`)
  try {
    return { name, text: new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()) }
  } catch (error) {
    if (error instanceof TypeError) throw new SyntaxError(`${name}: is no UTF-8 text`, { cause: error })
    throw error
  }
}

export function isExampleFile(name: string): boolean {
  return /\.(jsonl|txt|md)$/i.test(name)
}

/**
 * Checks texts with records: one JSON object a line where the name or the first character says so, and else texts with blank
 * lines between them.
 *
 * @throws SyntaxError, TypeError or RangeError naming the text and line
 */
export async function readExamples(texts: readonly ExampleText[], signal: AbortSignal): Promise<Examples> {
  const lines: string[] = []
  let last = performance.now()
  for (const text of texts) {
    for (const line of linesOf(text)) {
      lines.push(line)
      if (performance.now() - last < SLICE) continue
      await new Promise((resolve) => setTimeout(resolve))
      signal.throwIfAborted()
      last = performance.now()
    }
  }
  return { lines: lines.join("\n"), count: lines.length }
}

function* linesOf({ name, text }: ExampleText): Generator<string, void, undefined> {
  if (/^\s*\[/.test(text) && !/\.(txt|md)$/i.test(name)) {
    throw new SyntaxError(
      `${name}: begins with "[", expected one record a line without a list around them (JSON lines)`,
    )
  }
  if (/\.jsonl$/i.test(name) || (/^\s*\{/.test(text) && !isExampleFile(name))) yield* recordLines(name, text)
  else yield* plainTexts(text)
}

function* recordLines(name: string, text: string): Generator<string, void, undefined> {
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue
    parseRecord(line, `${name}, line ${i + 1}`)
    yield line.trim()
  }
}

function* plainTexts(text: string): Generator<string, void, undefined> {
  for (const each of text.replaceAll("\r\n", "\n").split(/\n[ \t]*\n\s*/)) {
    if (each.trim() !== "") yield JSON.stringify({ text: each.trim() })
  }
}
