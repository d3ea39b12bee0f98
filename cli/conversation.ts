import { randomUUID } from "node:crypto"
import { open, rename, rm } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import type { LanguageModel, Message } from "../src/index.ts"
import { readTextFile } from "./input.ts"

/**
 * The messages that the model gets of a conversation: all of them, or with `shift` without the oldest turns where those
 * would leave less than a quarter of the context for the answer.
 *
 * @throws {RangeError} when they do not fit
 */
export function visibleMessages(
  lm: LanguageModel,
  messages: readonly Message[],
  overflow: "error" | "shift",
): { messages: readonly Message[]; room: number } {
  const system = messages[0]?.role === "system" ? messages.slice(0, 1) : []
  let turns = messages.slice(system.length)
  for (;;) {
    const visible = [...system, ...turns]
    const length = lm.encode(visible).length
    const room = lm.context - length
    const wanted = overflow === "shift" && turns.length > 1 ? Math.floor(lm.context / 4) : 1
    if (room >= wanted) return { messages: visible, room }
    if (overflow === "error" || turns.length <= 1) {
      const what = overflow === "error" && turns.length > 1 ? "the conversation" : "the message"
      throw new RangeError(
        `context: ${what} has ${length} tokens, expected fewer than ${lm.context} (/reset begins anew, --context and --overflow shift allow more)`,
      )
    }
    const next = turns.findIndex(({ role }, i) => i > 0 && role === "user")
    turns = turns.slice(next > 0 ? next : turns.length - 1)
  }
}

/** Reads a conversation that /save wrote, or one of the same form. */
export async function readMessages(path: string): Promise<Message[]> {
  const text = await readTextFile(path)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new SyntaxError(`${path}: text is malformed, expected JSON (${(error as Error).message})`)
  }
  const isMessage = (each: unknown) =>
    typeof each === "object" && each !== null && "role" in each && typeof each.role === "string" && "content" in each
  if (Array.isArray(json) && json.length > 0 && json.every(isMessage)) return json
  throw new TypeError(`${path}: content is something else, expected [{ "role": "user", "content": "Hello" }, ...]`)
}

/** Writes a conversation whole or not at all. */
export async function writeMessages(path: string, messages: readonly Message[]): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
  try {
    const file = await open(temporary, "wx")
    try {
      await file.writeFile(`${JSON.stringify(messages, null, 2)}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw new RangeError(`${path}: cannot be written (${(error as Error).message})`, { cause: error })
  }
}
