/** Where the texts of tokens are found: a `Tokenizer`. */
export interface TokenTexts {
  /** One more than the largest id. */
  readonly vocabSize: number
  /** What the id adds to a text: characters, or bytes that may be part of one; nothing for a control token. */
  piece(id: number, skipSpecial: boolean): string | Uint8Array | undefined
}

/**
 * The tokens of a vocabulary as a tree of bytes, laid out so that a walk goes through arrays from the front to the back: a node's
 * subtree follows it.
 */
export class Vocabulary {
  /** Ids below it are the model's. */
  readonly size: number
  /** By node: its byte, how many bytes lead to it, and the first node behind its subtree. */
  readonly byte: Uint8Array
  readonly depth: Uint16Array
  readonly behind: Uint32Array
  /** Ids of the tokens that end at node n are `ids[firstId[n]]` to `ids[firstId[n + 1] - 1]`. */
  readonly firstId: Uint32Array
  readonly ids: Uint32Array
  readonly #texts: TokenTexts

  /** Control tokens and tokens without text are not in it: a text never gets on with them. */
  constructor(texts: TokenTexts, size: number) {
    this.size = size
    this.#texts = texts
    const tokens = sortedTokens(texts, Math.min(size, texts.vocabSize))
    const nodes = tokens.reduce((sum, { key }, i) => sum + key.length - sharedWith(tokens[i - 1]?.key ?? "", key), 0)
    this.byte = new Uint8Array(nodes)
    this.depth = new Uint16Array(nodes)
    this.behind = new Uint32Array(nodes)
    this.firstId = new Uint32Array(nodes + 1)
    this.ids = Uint32Array.from(tokens, ({ id }) => id)
    this.#fill(tokens)
  }

  /** The bytes that a token adds to a text; none for a token that is not in the tree. */
  bytesOf(id: number): Uint8Array {
    return id < this.size ? bytesOf(this.#texts, id) : NO_BYTES
  }

  #fill(tokens: readonly SortedToken[]): void {
    const path: number[] = []
    let node = 0
    tokens.forEach(({ key }, i) => {
      const shared = sharedWith(tokens[i - 1]?.key ?? "", key)
      for (const closed of path.splice(shared)) this.behind[closed] = node
      for (let at = shared; at < key.length; at++) {
        path.push(node)
        this.byte[node] = key.charCodeAt(at)
        this.depth[node] = at + 1
        this.firstId[node] = i
        node++
      }
      this.firstId[node] = i + 1
    })
    for (const closed of path) this.behind[closed] = node
  }
}

interface SortedToken {
  readonly id: number
  /** Its bytes as characters, which sort as the bytes do. */
  readonly key: string
}

const NO_BYTES = new Uint8Array(0)
const encoder = new TextEncoder()
/** No token of a known vocabulary is that long; depths are kept in 16 bits. */
const LONGEST = 2 ** 16 - 1

function bytesOf(texts: TokenTexts, id: number): Uint8Array {
  const piece = texts.piece(id, true) ?? NO_BYTES
  return typeof piece === "string" ? encoder.encode(piece) : piece
}

function sortedTokens(texts: TokenTexts, count: number): SortedToken[] {
  const tokens: SortedToken[] = []
  for (let id = 0; id < count; id++) {
    const bytes = bytesOf(texts, id)
    if (bytes.length > 0 && bytes.length <= LONGEST) tokens.push({ id, key: asCharacters(bytes) })
  }
  return tokens.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.id - b.id))
}

function asCharacters(bytes: Uint8Array): string {
  let key = ""
  for (const byte of bytes) key += String.fromCharCode(byte)
  return key
}

function sharedWith(a: string, b: string): number {
  let n = 0
  while (n < a.length && n < b.length && a.charCodeAt(n) === b.charCodeAt(n)) n++
  return n
}
