import { Template } from "@huggingface/jinja"
import { isObject, show } from "./tokenizer_json.ts"

/** One turn of a conversation. Templates know the roles; Gemma's are `user` and `assistant` (or `model`). */
export interface Message {
  role: string
  content: string | readonly ContentPart[]
}

/** Part of a turn, as templates of image models take it: `{ type: "text", text }`. */
export interface ContentPart {
  type: string
  text?: string
}

/** A rendered conversation whose messages cannot be mistaken for control tokens until `restore` is called. */
export interface Rendered {
  text: string
  restore(text: string): string
}

/** The template's text from where checkpoints keep it: chat_template.jinja, chat_template.json or tokenizer_config.json. */
export function readTemplate(file: string | undefined, config: Record<string, unknown>): string | undefined {
  if (file !== undefined) return templateFile(file)
  return pickTemplate("tokenizer_config.json", config.chat_template)
}

function templateFile(file: string): string | undefined {
  let json: unknown
  try {
    json = JSON.parse(file)
  } catch {
    return file // Jinja is no JSON
  }
  return pickTemplate("chat_template.json", isObject(json) ? json.chat_template : json)
}

/** A template, or a list of named ones, of which "default" is the chat. */
function pickTemplate(file: string, value: unknown): string | undefined {
  if (value === undefined || value === null || typeof value === "string") return value ?? undefined
  const named = Array.isArray(value)
    ? value.map((entry) => (isObject(entry) ? [entry.name, entry.template] : []))
    : isObject(value)
      ? Object.entries(value)
      : []
  const [, template] = named.find(([name]) => name === "default") ?? []
  if (typeof template === "string") return template
  throw new SyntaxError(`${file}: chat_template is ${show(value)}, expected a template or a list with a "default" one`)
}

/** A checkpoint's chat template, compiled at first use. */
export class ChatTemplate {
  #source: string
  #compiled: Template | undefined

  constructor(source: string) {
    this.#source = source
  }

  /**
   * Renders messages. Every character of a message that could begin one of the control tokens is replaced by a
   * private-use one that occurs nowhere else, so that whatever the template does with the messages (trims, joins,
   * cuts), a control token in the result was written by the template.
   */
  render(messages: readonly Message[], controlTokens: Iterable<string>, variables: Record<string, unknown>): Rendered {
    const standIns = chooseStandIns(controlTokens, JSON.stringify(messages) + this.#source)
    const guard = (text: string) => replaceCharacters(text, standIns)
    const originals = new Map([...standIns].map(([character, standIn]) => [standIn, character]))
    const context = { ...variables, messages: messages.map((message, i) => guardMessage(message, i, guard)) }
    return { text: this.#run(context), restore: (text) => replaceCharacters(text, originals) }
  }

  #run(context: Record<string, unknown>): string {
    this.#compiled ??= attempt(SyntaxError, () => new Template(this.#source))
    // What a template refuses, it refuses while it runs, by `raise_exception`.
    return attempt(RangeError, () => this.#compiled!.render({ tools: null, documents: null, ...context }))
  }
}

function attempt<T>(Failure: ErrorConstructor, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw new Failure(`chat template: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

/** A stand-in for each character that begins a control token, from the private-use area, none of them in use. */
function chooseStandIns(controlTokens: Iterable<string>, used: string): Map<string, string> {
  const standIns = new Map<string, string>()
  let code = 0xe000
  for (const token of controlTokens) {
    const first = String.fromCodePoint(token.codePointAt(0)!)
    if (standIns.has(first)) continue
    while (used.includes(String.fromCharCode(code))) code++
    if (code > 0xf8ff)
      throw new RangeError("chat: the messages use every private-use character, expected one to be free")
    standIns.set(first, String.fromCharCode(code++))
  }
  return standIns
}

function replaceCharacters(text: string, by: ReadonlyMap<string, string>): string {
  for (const [from, to] of by) text = text.replaceAll(from, to)
  return text
}

function guardMessage(message: unknown, i: number, guard: (text: string) => string): unknown {
  if (!isObject(message)) throw new TypeError(`chat: messages[${i}] is ${show(message)}, expected { role, content }`)
  const { role, content } = message
  expectWord(`messages[${i}].role`, role)
  if (typeof content !== "string" && !Array.isArray(content)) {
    throw new TypeError(`chat: messages[${i}].content is ${show(content)}, expected a string or an array of parts`)
  }
  return guardDeep({ ...message, role: undefined }, guard, { role })
}

/** Guards every string but a part's type, which templates compare and do not write. */
function guardDeep(value: unknown, guard: (text: string) => string, kept: Record<string, unknown> = {}): unknown {
  if (typeof value === "string") return guard(value)
  if (Array.isArray(value)) return value.map((item) => guardDeep(item, guard))
  if (!isObject(value)) return value
  const entries = Object.entries(value).map(([key, item]) => {
    if (key !== "type") return [guard(key), guardDeep(item, guard)]
    expectWord("a part's type", item)
    return [key, item]
  })
  return { ...Object.fromEntries(entries), ...kept }
}

/** Roles and types are code's words, not text: templates write a role next to control tokens. */
function expectWord(what: string, value: unknown): void {
  if (typeof value === "string" && /^[\w.-]+$/.test(value)) return
  throw new RangeError(`chat: ${what} is ${show(value)}, expected a word such as "user"`)
}
