import { isObject, show } from "../model/keys.ts"
import type { BatchSource } from "./batch_source.ts"
import type { Batch } from "./batches.ts"
import type { Example } from "./examples.ts"
import { permutation } from "./permutation.ts"
import type { TaughtExample, TeacherCache } from "./teacher_cache.ts"

export interface CacheBatchOptions {
  /** Rows of a batch. */
  readonly rows: number
  readonly shuffle: boolean
  readonly seed: number
}

/** Where the next batch begins: plain JSON. */
interface State {
  /** What the state belongs to. */
  readonly made: Readonly<Record<string, string | number | boolean>>
  readonly epoch: number
  /** The next row, in the order of the epoch. */
  readonly next: number
}

/** The rows of a teacher cache for training, epoch after epoch without end. */
export class CacheBatches implements BatchSource {
  readonly #cache: TeacherCache
  readonly #options: CacheBatchOptions
  #state: State
  #order: { readonly epoch: number; readonly rows: Uint32Array } | undefined

  constructor(cache: TeacherCache, options: CacheBatchOptions) {
    this.#cache = cache
    this.#options = options
    this.#state = { made: { cache: cache.fingerprint, ...options }, epoch: 0, next: 0 }
  }

  /** A batch that cannot be read leaves the state as it was. Calls must not overlap. */
  async next(): Promise<Batch> {
    const { rows: count, shuffle } = this.#options
    let { epoch, next } = this.#state
    const numbers: number[] = []
    while (numbers.length < count) {
      numbers.push(shuffle ? this.#orderOf(epoch)[next]! : next)
      next++
      if (next < this.#cache.info.rows) continue
      epoch++
      next = 0
    }
    const rows: TaughtExample[][] = []
    for (const number of numbers) rows.push(await this.#cache.row(number))
    this.#state = { ...this.#state, epoch, next }
    return { rows }
  }

  state(): State {
    return this.#state
  }

  /** @throws {RangeError} when the state is of another cache or other options */
  restore(state: unknown): void {
    const { made } = this.#state
    if (!isObject(state) || !isObject(state.made)) throw wrong("made", undefined, "what it belongs to")
    for (const [key, value] of Object.entries(made)) {
      if (state.made[key] !== value) throw wrong(key, state.made[key], show(value))
    }
    const count = (key: "epoch" | "next", end: number): number => {
      const value = state[key]
      if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < end) return value as number
      throw wrong(key, value, `a whole number below ${end}`)
    }
    this.#state = { made, epoch: count("epoch", 2 ** 32 - 1), next: count("next", this.#cache.info.rows) }
  }

  async *heldOutRows(): AsyncGenerator<Example[], void, undefined> {
    for (let i = 0; i < this.#cache.info.heldOutRows; i++) yield await this.#cache.heldOutRow(i)
  }

  #orderOf(epoch: number): Uint32Array {
    const { seed } = this.#options
    if (this.#order?.epoch !== epoch) this.#order = { epoch, rows: permutation(this.#cache.info.rows, seed, epoch + 1) }
    return this.#order.rows
  }
}

function wrong(key: string, is: unknown, expected: string): RangeError {
  return new RangeError(`batches: state's ${key} is ${show(is)}, expected ${expected} as in the options`)
}
