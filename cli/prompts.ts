import type { Message, Prompt } from "../src/index.ts"
import { readStdin, readTextFile } from "./input.ts"
import { show } from "./options.ts"

/** A prompt of a file, and what errors call it. */
export interface PromptLine {
  readonly prompt: Prompt
  readonly where: string
}

const EXPECTED = '{ "prompt": "text" } or { "messages": [{ "role": "user", "content": "text" }] }'

/**
 * The prompts of a file: of `.jsonl` an object a line, `{ prompt }` with a text or ids, or `{ messages }`; of any other, and of `-`,
 * which is stdin, a text a line. Empty lines are left out.
 *
 * @throws SyntaxError, TypeError or RangeError naming the file and line
 */
export async function readPrompts(path: string): Promise<PromptLine[]> {
  const name = path === "-" ? "stdin" : path
  const text = path === "-" ? await readStdin() : await readTextFile(path)
  const read = /\.jsonl$/i.test(path) ? readObject : (line: string) => line
  const prompts = text.split(/\r?\n/).flatMap((line, i) => {
    const where = `${name}:${i + 1}`
    return line.trim() === "" ? [] : [{ prompt: read(line, where), where }]
  })
  if (prompts.length > 0) return prompts
  throw new RangeError(`${name}: has no prompt, expected one a line`)
}

function readObject(line: string, where: string): Prompt {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new SyntaxError(`${where}: text is malformed, expected JSON (${(error as Error).message})`)
  }
  const { prompt, messages } = (value ?? {}) as { prompt?: unknown; messages?: unknown }
  if (prompt !== undefined && messages !== undefined) {
    throw new TypeError(`${where}: prompt is there beside messages, expected one of them`)
  }
  if (typeof prompt === "string") return prompt
  if (isListOf(prompt, (each) => typeof each === "number")) return prompt as number[]
  if (isListOf(messages, isMessage)) return messages as Message[]
  throw new TypeError(`${where}: value is ${show(line)}, expected ${EXPECTED}`)
}

function isListOf(value: unknown, is: (each: unknown) => boolean): boolean {
  return Array.isArray(value) && value.length > 0 && value.every(is)
}

function isMessage(value: unknown): value is Message {
  const { role, content } = (value ?? {}) as { role?: unknown; content?: unknown }
  return typeof role === "string" && typeof content === "string"
}
