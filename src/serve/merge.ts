interface Arrival<T, R> {
  readonly index: number
  readonly result: Promise<IteratorResult<T, R>>
}

/** Several generators as one: what any of them gives, in the order in which it is there. Each is one step ahead at most. */
export class Merge<T, R> {
  /** Those that have not ended. */
  readonly #sources = new Map<number, AsyncGenerator<T, R, void>>()
  /** Settled, and not yet taken. */
  readonly #arrived: Arrival<T, R>[] = []
  #wake = () => {}

  /** Has a generator take part from now on. */
  add(index: number, source: AsyncGenerator<T, R, void>): void {
    this.#sources.set(index, source)
    this.#pull(index, source)
  }

  /**
   * The next that any of them gives, or its end; undefined when all have ended.
   *
   * @throws what one of them throws
   */
  async next(): Promise<{ index: number; result: IteratorResult<T, R> } | undefined> {
    if (this.#sources.size === 0) return undefined
    if (this.#arrived.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const { index, result } = this.#arrived.shift()!
    const step = await result
    if (step.done) this.#sources.delete(index)
    else this.#pull(index, this.#sources.get(index)!)
    return { index, result: step }
  }

  /** Leaves those that have not ended, and waits until they have. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#sources.values()].map((source) => source.return(undefined as never)))
  }

  #pull(index: number, source: AsyncGenerator<T, R, void>): void {
    const result = source.next()
    const arrive = () => {
      this.#arrived.push({ index, result })
      this.#wake()
    }
    result.then(arrive, arrive) // what it throws is thrown where it is taken
  }
}
