import { type AddedToken, isObject, show, type TokenizerJson } from "./tokenizer_json.ts"

/** Gemma's turn markers are control tokens even where an early tokenizer.json does not mark them special. */
const TURN_MARKERS = ["<start_of_turn>", "<end_of_turn>"]

/** A run of text, or one control token. */
export type Segment = { text: string } | { id: number }

/** The tokens that stand for structure: only a template or `special: true` may write them. */
export class ControlTokens {
  readonly idOf: ReadonlyMap<string, number>
  readonly ids: ReadonlySet<number>
  #byContent: ReadonlyMap<string, AddedToken>
  #pattern: RegExp | undefined

  constructor(tokens: readonly AddedToken[]) {
    this.#byContent = new Map(tokens.map((token) => [token.content, token]))
    this.idOf = new Map(tokens.map((token) => [token.content, token.id]))
    this.ids = new Set(this.idOf.values())
    const longestFirst = [...this.idOf.keys()].sort((a, b) => b.length - a.length)
    if (longestFirst.length > 0) this.#pattern = new RegExp(`(${longestFirst.map(escapeRegExp).join("|")})`, "u")
  }

  /** Cuts a text at its control tokens. */
  split(text: string): Segment[] {
    if (this.#pattern === undefined) return text === "" ? [] : [{ text }]
    // Splitting by a pattern with one group puts the matches at the odd places.
    const parts = text.split(this.#pattern)
    for (let i = 1; i < parts.length; i += 2) {
      const { lstrip, rstrip } = this.#byContent.get(parts[i]!)!
      if (lstrip) parts[i - 1] = parts[i - 1]!.trimEnd()
      if (rstrip) parts[i + 1] = parts[i + 1]!.trimStart()
    }
    return parts.flatMap((part, i): Segment[] => {
      if (i % 2 === 1) return [{ id: this.idOf.get(part)! }]
      return part === "" ? [] : [{ text: part }]
    })
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")
}

/**
 * The control tokens of a checkpoint: what tokenizer.json or tokenizer_config.json marks special, what the config names
 * (`bos_token` and its like), and the added tokens that the chat template writes.
 */
export function findControlTokens(
  json: TokenizerJson,
  config: Record<string, unknown>,
  template?: string,
): AddedToken[] {
  const named = new Set([...Object.values(namedTokens(config)), ...specialInConfig(config), ...TURN_MARKERS])
  const written = (content: string) => template !== undefined && /[^\s▁]/.test(content) && template.includes(content)
  const control = json.added_tokens.filter(({ special, content }) => special || named.has(content) || written(content))
  const known = new Set(json.added_tokens.map(({ content }) => content))
  for (const content of named) {
    if (known.has(content) || !Object.hasOwn(json.model.vocab, content)) continue
    control.push({ id: json.model.vocab[content]!, content, special: true, lstrip: false, rstrip: false })
  }
  return control
}

/** `bos_token`, `eos_token`, `image_token` …: every `*_token` of tokenizer_config.json. */
export function namedTokens(config: Record<string, unknown>): Record<string, string> {
  const named: Record<string, string> = {}
  const extra = isObject(config.extra_special_tokens) ? config.extra_special_tokens : {}
  for (const [key, value] of Object.entries({ ...extra, ...config })) {
    if (!key.endsWith("_token") || value === null || value === undefined || typeof value === "boolean") continue
    named[key] = tokenText(key, value)
  }
  return named
}

/** A token is written as its text or as `{ content }`. */
function tokenText(key: string, value: unknown): string {
  const content = isObject(value) ? value.content : value
  if (typeof content === "string" && content !== "") return content
  throw new SyntaxError(`tokenizer_config.json: ${key} is ${show(content)}, expected a token`)
}

function specialInConfig(config: Record<string, unknown>): string[] {
  const { additional_special_tokens, extra_special_tokens, added_tokens_decoder } = config
  const lists = [additional_special_tokens, extra_special_tokens].filter(Array.isArray).flat()
  const decoder = isObject(added_tokens_decoder) ? Object.values(added_tokens_decoder) : []
  const texts = [
    ...lists.map((token) => (isObject(token) ? token.content : token)),
    ...decoder
      .filter((token) => isObject(token) && token.special === true)
      .map((token) => isObject(token) && token.content),
  ]
  return texts.filter((text): text is string => typeof text === "string" && text !== "")
}
