import type { Sequence } from "./sequence.ts"

let made = 0

/** Who has which of a model's sequences. Those who wait get one in the order in which they asked. */
export class Seats {
  /** Whoever wants a sequence of several models takes that of the lowest first: so none wait for each other. */
  readonly order = made++
  readonly #sequences: readonly Sequence[]
  readonly #free: Set<Sequence>
  /** There are some only while none is free. */
  readonly #waiting = new Set<(sequence: Sequence) => void>()

  constructor(sequences: readonly Sequence[]) {
    this.#sequences = sequences
    this.#free = new Set(sequences)
  }

  /**
   * Waits for a free sequence: the one whose tokens are the smallest loss when these come in their place. The caller must call
   * `leave` with it when done.
   *
   * @throws the signal's reason when it aborts
   */
  async take(ids: readonly number[], signal?: AbortSignal): Promise<Sequence> {
    signal?.throwIfAborted()
    if (this.#free.size === 0) return this.#wait(signal)
    const loss = ({ prefix }: Sequence) => prefix.tokens.length - prefix.reach(ids)
    const best = this.#sequences
      .filter((each) => this.#free.has(each))
      .reduce((least, each) => (loss(each) < loss(least) ? each : least))
    this.#free.delete(best)
    return best
  }

  leave(sequence: Sequence): void {
    const [next] = this.#waiting
    if (next) next(sequence)
    else this.#free.add(sequence)
  }

  #wait(signal: AbortSignal | undefined): Promise<Sequence> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(begin)
        reject(signal?.reason)
      }
      const begin = (sequence: Sequence) => {
        this.#waiting.delete(begin)
        signal?.removeEventListener("abort", leave)
        resolve(sequence)
      }
      signal?.addEventListener("abort", leave, { once: true })
      this.#waiting.add(begin)
    })
  }
}
