/**
 * Cuts a stream of text at the first stop string that completes, and holds back what may be the beginning of one. Where
 * the text comes in pieces does not matter.
 */
export class StopMatcher {
  #stops: readonly string[]
  #held = ""
  #stopped = false

  /** Throws a RangeError for an empty stop string, which would stop before the first character. */
  constructor(stops: readonly string[]) {
    for (const [i, stop] of stops.entries()) {
      if (typeof stop !== "string") throw new TypeError(`stop: string ${i} is ${typeof stop}, expected a string`)
      if (stop === "") throw new RangeError(`stop: string ${i} is empty, expected at least one character`)
    }
    this.#stops = [...new Set(stops)]
  }

  /** The text that is certain to come before any stop string, and whether one has come. */
  push(text: string): { text: string; stopped: boolean } {
    if (this.#stopped) return { text: "", stopped: true }
    const all = this.#held + text
    const cut = this.#firstMatch(all)
    if (cut !== undefined) {
      this.#stopped = true
      this.#held = ""
      return { text: all.slice(0, cut), stopped: true }
    }
    const certain = all.length - this.#possibleStart(all)
    this.#held = all.slice(certain)
    return { text: all.slice(0, certain), stopped: false }
  }

  /** What was held back and turned out to be no stop string. */
  flush(): string {
    const text = this.#held
    this.#held = ""
    return text
  }

  /** Where the stop string that ends first begins; the longest of those that end there. */
  #firstMatch(text: string): number | undefined {
    let start: number | undefined
    let end = Number.POSITIVE_INFINITY
    for (const stop of this.#stops) {
      const at = text.indexOf(stop)
      if (at < 0 || at + stop.length > end) continue
      if (at + stop.length < end || at < start!) start = at
      end = at + stop.length
    }
    return start
  }

  /** How long the longest end of the text is that begins a stop string. */
  #possibleStart(text: string): number {
    let longest = 0
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, text.length); n > longest; n--) {
        if (text.endsWith(stop.slice(0, n))) {
          longest = n
          break
        }
      }
    }
    return longest
  }
}
