/** Turns at something that several may share, or one may have alone, given in the order in which they were asked for. */
export class Turns {
  readonly #waiting: { readonly alone: boolean; readonly begin: () => void }[] = []
  /** How many have it now. */
  #having = 0
  #alone = false

  /** Waits until it may be shared; the caller must call what it gets when done. */
  share(): Promise<() => void> {
    return this.#turn(false)
  }

  /** Waits until no one else has it; the caller must call what it gets when done. */
  alone(): Promise<() => void> {
    return this.#turn(true)
  }

  async #turn(alone: boolean): Promise<() => void> {
    await new Promise<void>((resolve) => {
      this.#waiting.push({ alone, begin: resolve })
      this.#next()
    })
    let done = false
    return () => {
      if (done) return
      done = true
      this.#having--
      this.#next()
    }
  }

  /** Begins what may begin: nothing overtakes one who wants to be alone. */
  #next(): void {
    for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
      if (this.#having > 0 && (this.#alone || next.alone)) return
      this.#waiting.shift()
      this.#having++
      this.#alone = next.alone
      next.begin()
    }
  }
}
