/** How far a run is. */
export interface Remaining {
  /** Instances that have a result, those from before included. */
  readonly done: number
  readonly of: number
  /** Undefined before the first result tells how fast it is. */
  readonly secondsLeft: number | undefined
}

/** Tells how long a run will take, by the weight of what is done. */
export class Progress {
  readonly #of: number
  readonly #began = performance.now()
  #done: number
  #weight = 0
  #left: number

  constructor(before: number, open: readonly number[]) {
    this.#done = before
    this.#of = before + open.length
    this.#left = open.reduce((a, b) => a + b, 0)
  }

  done(weight: number): Remaining {
    this.#done++
    this.#weight += weight
    this.#left -= weight
    const seconds = (performance.now() - this.#began) / 1000
    return { done: this.#done, of: this.#of, secondsLeft: (seconds * this.#left) / this.#weight }
  }
}
