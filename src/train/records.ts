import { clip, isObject, show } from "../model/keys.ts"
import { parseJson } from "../model/source.ts"
import type { ContentPart, Message } from "../tokenizer/chat.ts"
import { Fingerprint } from "./fingerprint.ts"

/** A text to continue from its beginning to its end. */
export interface TextRecord {
  readonly text: string
}

/** A prompt, and the answer to learn. */
export interface CompletionRecord {
  readonly prompt: string
  readonly completion: string
}

/** A conversation, of which the model's turns are to be learnt. Roles are `user`, `assistant` (or `model`) and `system`. */
export interface ChatRecord {
  readonly messages: readonly Message[]
}

export type DataRecord = TextRecord | CompletionRecord | ChatRecord

/** Records by number, wherever they lie. */
export interface Dataset {
  /** What errors call it. */
  readonly name: string
  /** How many records can be read. */
  readonly count: number
  /** What was left out because the caller said so. */
  readonly skipped: Skipped
  /** Tells these records from others, in this order. */
  readonly fingerprint: string
  /** Record `index`, checked. */
  read(index: number): Promise<DataRecord>
  /** Where record `index` comes from: `stories.jsonl:17`. */
  where(index: number): string
}

/** How many records were unusable, and what was wrong with the first of them. */
export interface Skipped {
  readonly count: number
  readonly messages: readonly string[]
}

/** Messages of unusable records that are kept; the rest are counted. */
export const KEPT_MESSAGES = 5

const ROLES = ["user", "assistant", "model", "system"]
const FORMS = '"text", "prompt" and "completion", or "messages"'

/** Counts unusable records, or throws at the first. */
export class BadRecords implements Skipped {
  count = 0
  readonly messages: string[] = []
  readonly #skip: boolean

  constructor(skip: boolean) {
    this.#skip = skip
  }

  /** Runs `read`, or gives undefined where that fails because of the data and such records are to be skipped. */
  attempt<T>(read: () => T): T | undefined {
    try {
      return read()
    } catch (error) {
      const fault = error instanceof SyntaxError || error instanceof TypeError || error instanceof RangeError
      if (!this.#skip || !fault) throw error
      if (this.count++ < KEPT_MESSAGES) this.messages.push(error.message)
      return undefined
    }
  }
}

/** Records in memory. They are checked at once. */
export function recordsOf(records: readonly unknown[], { name = "records", skipBad = false } = {}): Dataset {
  if (!Array.isArray(records)) throw new TypeError(`${name}: value is ${show(records)}, expected an array of records`)
  const skipped = new BadRecords(skipBad)
  const usable: DataRecord[] = []
  const numbers: number[] = []
  const fingerprint = new Fingerprint()
  for (const [i, value] of records.entries()) {
    const record = skipped.attempt(() => checkRecord(value, `${name}[${i}]`))
    if (!record) continue
    usable.push(record)
    numbers.push(i)
    fingerprint.update(new TextEncoder().encode(`${JSON.stringify(record)}\n`))
  }
  expectSome(name, usable.length, skipped)
  const where = (index: number) => `${name}[${numbers[index]}]`
  return {
    name,
    count: usable.length,
    skipped,
    fingerprint: String(fingerprint),
    read: async (index) => usable[index]!,
    where,
  }
}

/** Throws a RangeError for a dataset without records, with the first reason why. */
export function expectSome(name: string, count: number, { messages }: Skipped): void {
  if (count > 0) return
  const why = messages.length > 0 ? ` (${messages[0]})` : ""
  throw new RangeError(`${name}: number of usable records is 0, expected at least 1${why}`)
}

/** The record of one line of a `.jsonl` file. */
export function parseRecord(text: string, where: string): DataRecord {
  return checkRecord(parseJson(text, where), where)
}

/**
 * A record of one of the three forms. Where the keys of several forms are there, `messages` goes before `prompt` with
 * `completion`, and those before `text`; other keys are ignored, and null counts as absent.
 */
export function checkRecord(value: unknown, where: string): DataRecord {
  if (!isObject(value)) throw new TypeError(`${where}: record is ${show(value)}, expected an object with ${FORMS}`)
  const has = (key: string) => value[key] !== undefined && value[key] !== null
  if (has("messages")) return { messages: checkMessages(value.messages, where) }
  if (has("prompt") && has("completion")) {
    const prompt = expectString("prompt", value.prompt, where)
    return { prompt, completion: expectText("completion", value.completion, where) }
  }
  if (has("text")) return { text: expectText("text", value.text, where) }
  const keys = Object.keys(value).map((key) => JSON.stringify(key))
  throw new TypeError(`${where}: record has ${clip(keys.join(", "), 60) || "no keys"}, expected ${FORMS}`)
}

function checkMessages(value: unknown, where: string): Message[] {
  if (!Array.isArray(value)) throw new TypeError(`${where}: messages is ${show(value)}, expected an array`)
  if (value.length === 0) throw new RangeError(`${where}: messages is [], expected at least one`)
  return value.map((message: unknown, i) => checkMessage(message, `${where}: messages[${i}]`))
}

/** One turn, under the name that templates know: `assistant` for `model`. */
function checkMessage(value: unknown, subject: string): Message {
  if (!isObject(value)) throw new TypeError(`${subject} is ${show(value)}, expected { role, content }`)
  const { role, content } = value
  if (typeof role !== "string" || !ROLES.includes(role)) {
    throw new RangeError(`${subject}.role is ${show(role)}, expected ${ROLES.join(", ")}`)
  }
  return { role: role === "model" ? "assistant" : role, content: checkContent(content, `${subject}.content`) }
}

function checkContent(content: unknown, subject: string): Message["content"] {
  if (typeof content === "string") return content
  if (!Array.isArray(content)) throw new TypeError(`${subject} is ${show(content)}, expected a string or text parts`)
  return content.map((part: unknown, i): ContentPart => {
    if (isObject(part) && part.type === "text" && typeof part.text === "string")
      return { type: "text", text: part.text }
    throw new TypeError(`${subject}[${i}] is ${show(part)}, expected { type: "text", text }`)
  })
}

function expectString(key: string, value: unknown, where: string): string {
  if (typeof value === "string") return value
  throw new TypeError(`${where}: ${key} is ${show(value)}, expected a string`)
}

function expectText(key: string, value: unknown, where: string): string {
  const text = expectString(key, value, where)
  if (text === "") throw new RangeError(`${where}: ${key} is empty, expected text`)
  return text
}
