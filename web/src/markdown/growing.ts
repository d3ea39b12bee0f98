import { blocksOf, LONGEST_BLOCK, rendered } from "./blocks.ts"

/**
 * Blocks at the end that what comes next may still change: a line more can make a paragraph a heading or a table, and a list go on
 * after what looked like its end.
 */
const OPEN_BLOCKS = 2
/** Of a long text this much is looked at in one go: a block that is not whole in it is shown in parts. */
const PORTION = LONGEST_BLOCK

/**
 * A Markdown text on the screen that may grow. Only its last blocks are parsed again when it does, so that a piece costs what its
 * paragraph does, however long the text is.
 */
export class GrowingMarkdown {
  readonly #root: HTMLElement
  #text = ""
  /** How much of the text is in blocks that stay as they are. */
  #settled = 0
  /** Nodes of the blocks that may still change. */
  #open: ChildNode[] = []

  constructor(root: HTMLElement) {
    this.#root = root
  }

  /** Shows a text: what it adds to the last one, or all of it if it is another. */
  update(given: string): void {
    const text = given.replace(/\r\n?/g, "\n") // as the parser reads it
    if (text === this.#text) return
    if (!text.startsWith(this.#text)) this.#clear()
    this.#text = text
    for (const node of this.#open.splice(0)) node.remove()
    while (this.#settle()) {}
    for (const { raw } of blocksOf(text.slice(this.#settled))) this.#open.push(...this.#append(raw))
  }

  /** Puts blocks in place that will not change; whether there may be more of them. */
  #settle(): boolean {
    const rest = this.#text.slice(this.#settled)
    const blocks = blocksOf(rest.slice(0, PORTION))
    const isCut = rest.length > PORTION
    const closed = closedBlocks(blocks) || (isCut ? blocks.length : 0)
    for (const { raw } of blocks.slice(0, closed)) {
      this.#append(raw)
      this.#settled += raw.length
    }
    return isCut
  }

  #append(raw: string): ChildNode[] {
    if (raw.trim() === "") return []
    const node = rendered(raw)
    const nodes = node instanceof DocumentFragment ? [...node.childNodes] : [node as ChildNode]
    this.#root.append(...nodes)
    return nodes
  }

  #clear(): void {
    this.#root.replaceChildren()
    this.#text = ""
    this.#settled = 0
    this.#open = []
  }
}

/** How many blocks are before the last ones that are more than empty lines. */
function closedBlocks(blocks: ReturnType<typeof blocksOf>): number {
  const filled = blocks.flatMap(({ type }, i) => (type === "space" ? [] : [i]))
  return filled.at(-OPEN_BLOCKS) ?? 0
}
