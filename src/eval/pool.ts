/** Does jobs of several groups at once, those of a group one after another (each hears of the next), and gives each result as it comes. */
export class Pool<J, R> implements AsyncIterable<{ readonly job: J; readonly result: R }> {
  readonly #groups: readonly (readonly J[])[]
  readonly #atOnce: number
  readonly #work: (job: J, next: J | undefined) => Promise<R>

  constructor(groups: readonly (readonly J[])[], atOnce: number, work: (job: J, next: J | undefined) => Promise<R>) {
    if (!Number.isSafeInteger(atOnce) || atOnce < 1) {
      throw new RangeError(`parallel: is ${atOnce}, expected a whole number from 1 on`)
    }
    this.#groups = groups
    this.#atOnce = atOnce
    this.#work = work
  }

  /** Leaving the loop waits for what is underway, and drops it. */
  async *[Symbol.asyncIterator]() {
    const waiting = this.#groups[Symbol.iterator]()
    const underway = new Map<number, Promise<{ lane: number; rest: readonly J[]; job: J; result: R }>>()
    const begin = (lane: number, jobs: readonly J[] | undefined) => {
      const [job, ...rest] = jobs?.length ? jobs : (waiting.next().value ?? [])
      if (job === undefined) return
      underway.set(
        lane,
        this.#work(job, rest[0]).then((result) => ({ lane, rest, job, result })),
      )
    }
    for (let lane = 0; lane < this.#atOnce; lane++) begin(lane, undefined)
    try {
      while (underway.size > 0) {
        const { lane, rest, job, result } = await Promise.race(underway.values())
        underway.delete(lane)
        begin(lane, rest)
        yield { job, result }
      }
    } finally {
      await Promise.allSettled(underway.values())
    }
  }
}
