import { ApiError } from "./errors.ts"

/** The longest that a client is asked to wait; OpenAI's client does not believe more than a minute. */
const LONGEST_RETRY_SECONDS = 60

/**
 * Turns at the model, one after another, in the order in which they were asked for. Whoever waits can leave at any time;
 * when too many wait, the next is told to come back later.
 */
export class Queue {
  readonly #limit: number
  readonly #waiting = new Set<() => void>()
  #taken = false
  /** How long a turn takes, as a running mean. */
  #meanMs = 1000

  /** @param limit how many may wait beside the one whose turn it is */
  constructor(limit: number) {
    this.#limit = limit
  }

  get running(): number {
    return this.#taken ? 1 : 0
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
  async turn(signal: AbortSignal, again: boolean): Promise<() => void> {
    signal.throwIfAborted()
    if (!this.#taken) this.#taken = true
    else if (!again && this.#waiting.size >= this.#limit) throw this.#full()
    else await this.#wait(signal)
    const began = performance.now()
    let done = false
    return () => {
      if (done) return
      done = true
      this.#meanMs += (performance.now() - began - this.#meanMs) / 8
      this.#next()
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(begin)
        reject(signal.reason)
      }
      const begin = () => {
        signal.removeEventListener("abort", leave)
        resolve()
      }
      signal.addEventListener("abort", leave, { once: true })
      this.#waiting.add(begin)
    })
  }

  /** Hands the turn over; it is nobody's only when nobody waits. */
  #next(): void {
    for (const begin of this.#waiting) {
      this.#waiting.delete(begin)
      begin()
      return
    }
    this.#taken = false
  }

  #full(): ApiError {
    const seconds = Math.ceil((this.#meanMs * this.#waiting.size) / 1000)
    const wait = Math.max(1, Math.min(LONGEST_RETRY_SECONDS, seconds))
    const message = `queue: the limit of ${this.#limit} requests waits, expected room for one more (try again in ${wait} s)`
    return new ApiError(429, message, {
      type: "rate_limit_error",
      code: "queue_full",
      headers: { "Retry-After": String(wait) },
    })
  }
}
