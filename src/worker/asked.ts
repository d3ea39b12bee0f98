/** What goes along with a call. */
export interface AskOptions<Event> {
  readonly signal?: AbortSignal | undefined
  readonly onEvent?: ((event: Event) => void) | undefined
}

type Next = { readonly done: false; readonly item: unknown } | { readonly done: true }

/** A call underway, at the end that asks: items that were not read yet, and the result. */
export class Asked {
  readonly id: number
  /** The result. Nobody has to hear of a failure here. */
  readonly done: Promise<unknown>
  readonly #signal: AbortSignal | undefined
  readonly #onEvent: ((event: unknown) => void) | undefined
  readonly #items: unknown[] = []
  #settle!: { readonly resolve: (value: unknown) => void; readonly reject: (error: unknown) => void }
  #wake: (() => void) | undefined
  #settled = false

  constructor(id: number, signal: AbortSignal | undefined, onEvent: ((event: unknown) => void) | undefined) {
    this.id = id
    this.#signal = signal
    this.#onEvent = onEvent
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.done.catch(() => {}) // who reads the items hears of it then
  }

  /** Whether the result, or a failure, is there. */
  get settled(): boolean {
    return this.#settled
  }

  /** Waits for the next item. After the last: done. */
  async next(): Promise<Next> {
    while (this.#items.length === 0 && !this.#settled) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#items.length > 0 ? { done: false, item: this.#items.shift() } : { done: true }
  }

  give(item: unknown): void {
    this.#items.push(item)
    this.#wake?.()
  }

  tell(event: unknown): void {
    this.#onEvent?.(event)
  }

  finish(result: unknown): void {
    this.#settled = true
    this.#settle.resolve(result)
    this.#wake?.()
  }

  /** What is thrown at the other end for an aborted signal is a copy of its reason: here it is the reason itself. */
  fail(error: Error): void {
    const signal = this.#signal
    this.#settled = true
    this.#settle.reject(signal?.aborted && isCopy(error, signal.reason) ? signal.reason : error)
    this.#wake?.()
  }
}

function isCopy({ name, message }: Error, reason: unknown): boolean {
  return reason instanceof Error ? reason.name === name && reason.message === message : String(reason) === message
}
