import { type LanguageModel, type TuneOptions, type TuneStep, type Tuning, tune } from "../api.ts"
import type { HostModels } from "./host_models.ts"
import type { HostWire } from "./host_wire.ts"
import type { HostMethods, Id, Notice, WireTuneOptions } from "./protocol.ts"
import { type Context, type Handlers, Moved } from "./served.ts"

type TuningMethods = Pick<HostMethods, "tune" | "prepare" | "steps" | "save" | "adapter" | "disposeTuning">

type Prepared = HostMethods["prepare"]["event"]

/** A run, and what the page knows of it. */
interface Run {
  readonly tuning: Tuning
  /** The model's number: another than at first, if it was loaded again. */
  model: Id
  /** Stops it. */
  readonly controller: AbortController
  /** Hears of first numbers being made. */
  onPrepare: NonNullable<TuneOptions["onPrepare"]>
  /** How many points of the curve the page has, and the last of them. */
  told: number
  last: Tuning["curve"][number] | undefined
}

/** The runs of training of a page, by the numbers that it knows. */
export class HostTunings {
  readonly handlers: Handlers<TuningMethods>
  readonly #models: HostModels
  readonly #wire: HostWire
  readonly #notify: (notice: Notice) => void
  readonly #runs = new Map<Id, Run>()
  #count = 0

  constructor(models: HostModels, wire: HostWire, notify: (notice: Notice) => void) {
    this.#models = models
    this.#wire = wire
    this.#notify = notify
    this.handlers = {
      tune: (args) => this.#tune(args),
      prepare: ({ tuning }, context) => this.#telling(tuning, (run) => prepare(run, context)),
      steps: ({ tuning }, context) => this.#steps(tuning, context),
      save: ({ tuning }) => this.#telling(tuning, (run) => run.tuning.save()),
      adapter: ({ tuning }) => this.#telling(tuning, async (run) => new Moved(await run.tuning.adapter())),
      disposeTuning: async ({ tuning }) => {
        await this.#telling(tuning, async (run) => run.tuning.dispose())
        this.#runs.delete(tuning)
      },
    }
  }

  /** Stops what the page has left; what it holds goes with its model. */
  stop(): void {
    for (const { controller } of this.#runs.values()) controller.abort()
    this.#runs.clear()
  }

  async #tune({ model, data, options }: HostMethods["tune"]["args"]): Promise<HostMethods["tune"]["result"]> {
    const id = ++this.#count
    const controller = new AbortController()
    const lm = this.#models.get(model)
    const records = await this.#wire.data(data, options.skipBad)
    const tuning = tune(lm, records, {
      ...(await this.#options(id, options)),
      signal: controller.signal,
      onPrepare: (done, of) => this.#runs.get(id)?.onPrepare(done, of),
    })
    this.#runs.set(id, { tuning, model, controller, onPrepare: () => {}, told: 0, last: undefined })
    return { tuning: id, settings: tuning.settings }
  }

  async #options(id: Id, { store, heldOut, reopen, ...options }: WireTuneOptions): Promise<TuneOptions> {
    return {
      ...options,
      store: store && this.#wire.store(store),
      heldOut: typeof heldOut === "object" ? await this.#wire.dataset(heldOut, options.skipBad) : heldOut,
      reopen: reopen === undefined ? undefined : () => this.#reopen(id, reopen),
    }
  }

  async #reopen(id: Id, reopen: Id): Promise<LanguageModel> {
    const model = await this.#wire.reopen(reopen)
    this.#run(id).model = model
    return this.#models.get(model)
  }

  async *#steps(id: Id, { signal, tell }: Context<Prepared>): AsyncGenerator<TuneStep, void, void> {
    const run = this.#run(id)
    run.onPrepare = (done, of) => tell({ done, of })
    const stop = () => run.controller.abort(signal.reason)
    signal.addEventListener("abort", stop)
    if (signal.aborted) stop()
    try {
      for await (const step of run.tuning) {
        this.#tell(id)
        yield step
      }
    } finally {
      signal.removeEventListener("abort", stop)
      this.#tell(id)
    }
  }

  /** Does something with a run, and tells how it is then before the result goes out. */
  async #telling<T>(id: Id, work: (run: Run) => Promise<T>): Promise<T> {
    try {
      return await work(this.#run(id))
    } finally {
      this.#tell(id)
    }
  }

  #tell(id: Id): void {
    const run = this.#runs.get(id)
    if (!run) return
    const { step, saved, curve } = run.tuning
    // Points are only added, unless the run went back to a checkpoint: then all of them are others.
    const from = run.told <= curve.length && curve[run.told - 1] === run.last ? run.told : 0
    this.#notify({ tuning: id, state: { step, saved, from, points: curve.slice(from) } })
    run.told = curve.length
    run.last = curve.at(-1)
    this.#models.tell(run.model)
  }

  #run(id: Id): Run {
    const run = this.#runs.get(id)
    if (run) return run
    throw new TypeError(`run ${id}: is disposed, expected one underway`)
  }
}

function prepare(run: Run, { tell }: Context<Prepared>) {
  run.onPrepare = (done, of) => tell({ done, of })
  return run.tuning.prepare()
}
