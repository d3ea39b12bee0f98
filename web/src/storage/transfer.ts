import { type AnswerFacts, type Conversation, type Ending, newConversation, type Turn } from "./conversation.ts"

const FORMAT = "gemlet-conversations"
const VERSION = 1
const ENDINGS: readonly unknown[] = ["eos", "stop", "length", "stopped", "failed"] satisfies readonly Ending[]

/** Conversations as a file to keep or to carry elsewhere. */
export function exportText(conversations: readonly Conversation[]): string {
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations }, undefined, 1)
}

/**
 * The conversations of an exported file.
 *
 * @throws {SyntaxError} for a file of another kind, naming the first thing that is not as expected
 */
export function readExport(text: string): Conversation[] {
  const file = object(parse(text), "file")
  if (file.format !== FORMAT) throw bad("format", file.format, JSON.stringify(FORMAT))
  if (file.version !== VERSION) throw bad("version", file.version, String(VERSION))
  return list(file.conversations, "conversations").map((each, i) => readConversation(each, `conversations[${i}]`))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new SyntaxError("import: file is malformed, expected JSON", { cause: error })
  }
}

function readConversation(value: unknown, at: string): Conversation {
  const given = object(value, at)
  const { mode } = given
  if (mode !== undefined && mode !== "chat" && mode !== "text") throw bad(`${at}.mode`, mode, "chat or text")
  return {
    id: given.id === undefined ? newConversation().id : string(given.id, `${at}.id`),
    title: string(given.title, `${at}.title`),
    named: given.named === true,
    created: number(given.created, `${at}.created`),
    updated: number(given.updated, `${at}.updated`),
    system: string(given.system ?? "", `${at}.system`),
    mode,
    adapter:
      given.adapter === undefined ? undefined : readAdapter(object(given.adapter, `${at}.adapter`), `${at}.adapter`),
    turns: list(given.turns, `${at}.turns`).map((turn, i) => readTurn(turn, `${at}.turns[${i}]`)),
  }
}

/** One that is not here is told when the conversation is to be answered. */
function readAdapter({ id, name }: Record<string, unknown>, at: string): Conversation["adapter"] {
  return { id: string(id, `${at}.id`), name: string(name, `${at}.name`) }
}

function readTurn(value: unknown, at: string): Turn {
  const { id, role, text, facts } = object(value, at)
  if (role !== "user" && role !== "assistant") throw bad(`${at}.role`, role, "user or assistant")
  return {
    id: id === undefined ? crypto.randomUUID() : string(id, `${at}.id`),
    role,
    text: string(text, `${at}.text`),
    facts: facts === undefined ? undefined : readFacts(object(facts, `${at}.facts`), `${at}.facts`),
  }
}

function readFacts(given: Record<string, unknown>, at: string): AnswerFacts {
  if (!ENDINGS.includes(given.ending)) throw bad(`${at}.ending`, given.ending, ENDINGS.join(", "))
  return {
    model: string(given.model, `${at}.model`),
    ending: given.ending as Ending,
    tokens: number(given.tokens, `${at}.tokens`),
    tokensPerSecond: number(given.tokensPerSecond, `${at}.tokensPerSecond`),
    promptTokens: number(given.promptTokens, `${at}.promptTokens`),
    reusedTokens: number(given.reusedTokens, `${at}.reusedTokens`),
    seed: given.seed === undefined ? undefined : number(given.seed, `${at}.seed`),
    adapter: given.adapter === undefined ? undefined : string(given.adapter, `${at}.adapter`),
    trouble: given.trouble === undefined ? undefined : string(given.trouble, `${at}.trouble`),
  }
}

function object(value: unknown, at: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw bad(at, value, "an object")
}

function list(value: unknown, at: string): readonly unknown[] {
  if (Array.isArray(value)) return value
  throw bad(at, value, "a list")
}

function string(value: unknown, at: string): string {
  if (typeof value === "string") return value
  throw bad(at, value, "a text")
}

function number(value: unknown, at: string): number {
  if (typeof value === "number" && Number.isFinite(value)) return value
  throw bad(at, value, "a number")
}

function bad(at: string, value: unknown, expected: string): SyntaxError {
  return new SyntaxError(`import: ${at} is ${JSON.stringify(value)?.slice(0, 80)}, expected ${expected}`)
}
