import type { Piece } from "./pieces.ts"

/** Where a stream finds what its ids stand for: a `Tokenizer`. */
export interface PieceSource {
  /** What the id adds to the output; nothing for a skipped or an unknown id. */
  piece(id: number, skipSpecial: boolean): Piece | undefined
  /** How many spaces the decoder drops at the very start of a text. */
  readonly stripStart: number
}

/**
 * Ids in, text out, as soon as it is certain: a character comes when its last byte has come, and the pieces joined are
 * what `decode` gives for all the ids at once. Each id is looked at once.
 *
 * The first space of a text is dropped where the decoder says so (Llama). To continue a prompt, push the prompt's ids
 * first and ignore what they give.
 */
export class TextStream {
  #source: PieceSource
  #skipSpecial: boolean
  #strip: number
  #utf8 = new TextDecoder("utf-8", { ignoreBOM: true })
  #pending = false

  constructor(source: PieceSource, { skipSpecial = true }: { skipSpecial?: boolean } = {}) {
    this.#source = source
    this.#skipSpecial = skipSpecial
    this.#strip = source.stripStart
  }

  /** The text that these ids complete. */
  push(ids: Iterable<number>): string {
    let text = ""
    for (const id of ids) {
      const piece = this.#source.piece(id, this.#skipSpecial)
      if (piece === undefined) continue
      if (typeof piece === "string") {
        text += this.#endBytes() + piece
      } else {
        text += this.#utf8.decode(piece, { stream: true })
        this.#pending = true
      }
    }
    return this.#stripped(text)
  }

  /** What is left at the end: U+FFFD for a character whose last bytes never came, else nothing. */
  flush(): string {
    const text = this.#stripped(this.#endBytes())
    this.#strip = this.#source.stripStart
    return text
  }

  #endBytes(): string {
    if (!this.#pending) return ""
    this.#pending = false
    return this.#utf8.decode()
  }

  #stripped(text: string): string {
    let start = 0
    while (this.#strip > 0 && start < text.length) {
      this.#strip = text[start] === " " ? this.#strip - 1 : 0
      if (text[start] !== " ") break
      start++
    }
    return text.slice(start)
  }
}
