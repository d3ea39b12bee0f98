import { ApiError } from "./errors.ts"

/** The longest that a client is asked to wait; OpenAI's client does not believe more than a minute. */
const LONGEST_RETRY_SECONDS = 60

/** Somebody who waits for a turn. */
interface Waiting {
  readonly key: string
  readonly begin: () => void
}

/**
 * Turns at the model, in the order in which they were asked for. Several may be underway at once if they have the same key:
 * they want the model in the same state. Nobody overtakes, so that none waits forever for those of another key. Whoever waits
 * can leave at any time; when too many wait, the next is told to come back later.
 */
export class Queue {
  /** How many turns there may be at once. */
  readonly room: number
  readonly #limit: number
  readonly #waiting = new Set<Waiting>()
  #running = 0
  /** Of the turns underway. */
  #key = ""
  /** How long a turn takes, as a running mean. */
  #meanMs = 1000

  /** @param limit how many may wait beside those whose turn it is */
  constructor(limit: number, room: number) {
    this.#limit = limit
    this.room = room
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Waits for a turn; the caller must call what it gets when done.
   *
   * @param again a later turn of a request that has had one: it goes to the end, but is never refused
   * @throws {ApiError} 429 when too many wait; the signal's reason when it aborts
   */
  async turn(key: string, signal: AbortSignal, again: boolean): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#waiting.size === 0 && this.#fits(key)) this.#take(key)
    else if (!again && this.#waiting.size >= this.#limit) throw this.#full()
    else await this.#wait(key, signal)
    const began = performance.now()
    let done = false
    return () => {
      if (done) return
      done = true
      this.#meanMs += (performance.now() - began - this.#meanMs) / 8
      this.#running--
      this.#next()
    }
  }

  #fits(key: string): boolean {
    return this.#running === 0 || (this.#running < this.room && key === this.#key)
  }

  #take(key: string): void {
    this.#running++
    this.#key = key
  }

  #wait(key: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(waiting)
        reject(signal.reason)
        this.#next() // those behind may have waited for this one only
      }
      const begin = () => {
        signal.removeEventListener("abort", leave)
        resolve()
      }
      const waiting: Waiting = { key, begin }
      signal.addEventListener("abort", leave, { once: true })
      this.#waiting.add(waiting)
    })
  }

  /** Gives turns to those who have waited longest, up to the first who has to go on waiting. */
  #next(): void {
    for (const waiting of this.#waiting) {
      if (!this.#fits(waiting.key)) return
      this.#waiting.delete(waiting)
      this.#take(waiting.key)
      waiting.begin()
    }
  }

  #full(): ApiError {
    const seconds = Math.ceil((this.#meanMs * this.#waiting.size) / this.room / 1000)
    const wait = Math.max(1, Math.min(LONGEST_RETRY_SECONDS, seconds))
    const message = `queue: the limit of ${this.#limit} requests waits, expected room for one more (try again in ${wait} s)`
    return new ApiError(429, message, {
      type: "rate_limit_error",
      code: "queue_full",
      headers: { "Retry-After": String(wait) },
    })
  }
}
