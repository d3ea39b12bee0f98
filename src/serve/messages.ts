import type { Message } from "../api.ts"
import { badField, checking } from "./errors.ts"
import type { Served } from "./exchange.ts"
import { type Body, field, isObject, show } from "./fields.ts"

const ROLES: Readonly<Record<string, string>> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
}

/**
 * The ids of a conversation, by the model's own chat template.
 *
 * @throws {ApiError} for messages of another form, and for a model without a template
 */
export function encodeMessages({ lm, limits }: Served, body: Body): number[] {
  const messages = readMessages(body)
  if (!lm.tokenizer?.hasChatTemplate) {
    const what = "the model has no chat template, expected one that has (/v1/completions continues a text without)"
    throw badField("messages", what, "no_chat_template")
  }
  limits.expectShort(
    "messages",
    messages.reduce((sum, { content }) => sum + content.length, 0),
  )
  return checking("messages", () => lm.encode(messages))
}

function readMessages(body: Body): Message[] {
  const value = field(body, "messages")
  if (Array.isArray(value) && value.length > 0) return value.map((each, i) => readMessage(each, `messages[${i}]`))
  throw badField("messages", `value is ${show(value)}, expected an array of at least one message`)
}

function readMessage(value: unknown, at: string): Message {
  if (!isObject(value)) throw badField(at, `value is ${show(value)}, expected { role, content }`)
  const { role, content } = value
  const known = typeof role === "string" && Object.hasOwn(ROLES, role) ? ROLES[role] : undefined
  if (known === undefined) {
    throw badField(`${at}.role`, `value is ${show(role)}, expected one of ${Object.keys(ROLES).join(", ")}`)
  }
  for (const name of ["tool_calls", "function_call", "audio"]) {
    if (field(value, name) !== undefined) throw badField(`${at}.${name}`, "is there, expected text only")
  }
  return { role: known, content: readContent(content, `${at}.content`) }
}

/** Text, or parts of text; those are joined by newlines, as templates of text models take strings only. */
function readContent(content: unknown, at: string): string {
  if (typeof content === "string") return content
  if (!Array.isArray(content)) throw badField(at, `value is ${show(content)}, expected a string or an array of parts`)
  return content.map((part, i) => readPart(part, `${at}[${i}]`)).join("\n")
}

function readPart(part: unknown, at: string): string {
  if (!isObject(part)) throw badField(at, `value is ${show(part)}, expected { type: "text", text }`)
  if (part.type !== "text") throw badField(`${at}.type`, `value is ${show(part.type)}, expected "text"`)
  if (typeof part.text !== "string") throw badField(`${at}.text`, `value is ${show(part.text)}, expected a string`)
  return part.text
}
