import type { Methods } from "./messages.ts"

/** What a handler has beside its arguments. */
export interface Context<Event> {
  /** Aborts when the other end's signal does, or is gone. */
  readonly signal: AbortSignal
  tell(event: Event): void
}

/** What answers to a method: with a result, or with items and then a result. */
export type Handlers<M extends Methods> = {
  readonly [K in keyof M]: (args: M[K]["args"], context: Context<M[K]["event"]>) => Answer<M[K]["item"], M[K]["result"]>
}

export type Answer<Item, Result> = [Item] extends [never]
  ? Promise<Result | Moved<Result>> | Result | Moved<Result>
  : AsyncGenerator<Item | Moved<Item>, Result, void>

/** A value whose buffers go across without being copied: they are gone here. */
export class Moved<T> {
  readonly value: T
  constructor(value: T) {
    this.value = value
  }
}

type Send = (item: unknown, transfer: Transferable[]) => void

/** A call underway, at the end that answers: how many items were asked for, and whether it is to stop. */
export class Served {
  readonly #controller = new AbortController()
  #credits: number
  #left = false
  #wake: (() => void) | undefined

  /** @param ahead items that may go out before more are asked for */
  constructor(ahead: number) {
    this.#credits = ahead
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** One more item may go out. */
  pull(): void {
    this.#credits++
    this.#wake?.()
  }

  /** No more items are wanted. */
  leave(): void {
    this.#left = true
    this.#wake?.()
  }

  cancel(reason: Error): void {
    this.#controller.abort(reason)
    this.#wake?.()
  }

  /** Waits for the result, sending items as they are asked for. */
  async run(answer: unknown, send: Send): Promise<{ value: unknown; transfer: Transferable[] }> {
    return parcel(isGenerator(answer) ? await this.#items(answer, send) : await answer)
  }

  async #items(items: AsyncGenerator<unknown>, send: Send): Promise<unknown> {
    for (;;) {
      // An aborted one goes on without being asked, as it is to throw.
      while (this.#credits <= 0 && !this.#left && !this.signal.aborted) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
      const next = this.#left ? await items.return(undefined) : await items.next()
      if (next.done) return next.value
      this.#credits--
      const { value, transfer } = parcel(next.value)
      send(value, transfer)
    }
  }
}

function isGenerator(answer: unknown): answer is AsyncGenerator<unknown> {
  return typeof answer === "object" && answer !== null && Symbol.asyncIterator in answer
}

function parcel(value: unknown): { value: unknown; transfer: Transferable[] } {
  return value instanceof Moved
    ? { value: value.value, transfer: [...buffersOf(value.value)] }
    : { value, transfer: [] }
}

/** The buffers that lie in a value, each once. */
function buffersOf(value: unknown, found = new Set<ArrayBuffer>()): Set<ArrayBuffer> {
  if (ArrayBuffer.isView(value)) {
    if (value.buffer instanceof ArrayBuffer) found.add(value.buffer)
  } else if (value instanceof ArrayBuffer) {
    found.add(value)
  } else if (value instanceof Map) {
    for (const each of value.values()) buffersOf(each, found)
  } else if (typeof value === "object" && value !== null) {
    for (const each of Object.values(value)) buffersOf(each, found)
  }
  return found
}
