import { Marked, type Token, type Tokens } from "marked"
import { highlighted } from "./highlight.ts"
import { sanitized } from "./sanitize.ts"

/** Tags of HTML that a text may use in Markdown; all others are shown as they are written. */
const PLAIN_TAG = /^<(?:br\s*\/?|\/?(?:sub|sup|kbd))>$/i
/** Longer blocks are shown as plain text, so that no text can hold the page up. */
export const LONGEST_BLOCK = 20_000
/** Deeper quotes or lists too: each level is a call inside another. */
const DEEPEST = /^(?:(?:[ \t]*>){40}|(?:[ \t]*(?:[-*+]|\d+[.)])[ \t]+){40})/m

const marked = new Marked({
  gfm: true,
  tokenizer: {
    // A definition shows nothing, and a model's text is shown whole.
    def: () => undefined,
  },
  renderer: {
    html: ({ text }) => (PLAIN_TAG.test(text.trim()) ? text : escaped(text)),
    // Loading an image would tell its host of it, and what the address says.
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    code: ({ text, lang }) => codeBlock(text, lang),
  },
})

/** The blocks of a Markdown text: paragraphs, lists, fences. Their `raw` parts together are the text. */
export function blocksOf(text: string): readonly Pick<Token, "type" | "raw">[] {
  if (tooMuch(text)) return [{ type: "plain", raw: text }]
  try {
    return marked.lexer(text)
  } catch {
    return [{ type: "plain", raw: text }]
  }
}

/** A block as nodes that are safe to show. */
export function rendered(block: string): Node {
  if (tooMuch(block)) return plain(block)
  try {
    return sanitized(marked.parse(block, { async: false }))
  } catch {
    return plain(block) // nested too deep, for one
  }
}

function tooMuch(text: string): boolean {
  return text.length > LONGEST_BLOCK || DEEPEST.test(text)
}

function plain(text: string): Node {
  const element = document.createElement("p")
  element.className = "plain"
  element.textContent = text
  return element
}

function codeBlock(text: Tokens.Code["text"], lang: Tokens.Code["lang"]): string {
  const language = /^[\w+#.-]+/.exec(lang ?? "")?.[0] ?? ""
  const html = highlighted(text, language.toLowerCase()) ?? escaped(text)
  return `<pre><code${language ? ` class="language-${escaped(language)}"` : ""}>${html}\n</code></pre>`
}

function escaped(text: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" }
  return text.replace(/[&<>"']/g, (character) => entities[character]!)
}
