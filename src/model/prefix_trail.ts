import type { Prefix } from "./prefix.ts"

/** The way of an answer through a passage: each step writes what the step before has drawn. */
export class Trail {
  readonly #prefix: Prefix
  #submitted: number
  #read: number
  #last: number

  /** @param prompt of which all but the last token went through */
  constructor(prefix: Prefix, prompt: readonly number[]) {
    this.#prefix = prefix
    this.#submitted = this.#read = prompt.length - 1
    this.#last = prompt.at(-1)!
  }

  /** Must be called before so many steps are submitted. */
  steps(count: number): void {
    this.#prefix.markStep()
    this.#prefix.reserve(this.#submitted, this.#submitted + count)
    this.#submitted += count
  }

  /** Says what steps have drawn, in order; the last token drawn was not written yet. */
  drawn(tokens: readonly number[]): void {
    this.#prefix.append(this.#read, [this.#last, ...tokens.slice(0, -1)])
    this.#read += tokens.length
    this.#last = tokens.at(-1)!
  }
}
