import { HubError } from "./errors.ts"

/** How patient a download is. */
export interface Patience {
  /** Failures in a row before giving up. */
  attempts: number
  /** The first pause, doubled after each failure, in ms. */
  pause: number
  /** The longest pause, also when the server asks for more, in ms. */
  longestPause: number
  /** A connection that gives nothing for so long is dead, in ms. */
  stall: number
  /** A lock whose holder shows no life for so long is abandoned, in ms. */
  staleLock: number
}

export const PATIENCE: Patience = { attempts: 6, pause: 500, longestPause: 60_000, stall: 30_000, staleLock: 15_000 }

/** Counts failures and pauses between them. */
export class Backoff {
  readonly #patience: Patience
  readonly #signal: AbortSignal | undefined
  #failures = 0

  constructor(patience: Patience, signal?: AbortSignal) {
    this.#patience = patience
    this.#signal = signal
  }

  /** Called when something went well: the next failure is the first again. */
  reset(): void {
    this.#failures = 0
  }

  /** Pauses before the next attempt, or throws `error` when another one is hopeless. */
  async pause(error: unknown): Promise<void> {
    this.#signal?.throwIfAborted()
    if (!(error instanceof HubError) || (error.code !== "network" && error.code !== "server")) throw error
    if (++this.#failures >= this.#patience.attempts) throw error
    const own = this.#patience.pause * 2 ** (this.#failures - 1) * (0.75 + Math.random() / 2)
    const ms = Math.min(Math.max(own, error.retryAfter ?? 0), this.#patience.longestPause)
    await sleep(ms, this.#signal)
  }
}

/** Waits, or throws the signal's reason as soon as there is one. */
function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop)
      resolve()
    }, ms)
    signal?.addEventListener("abort", stop, { once: true })
  })
}
