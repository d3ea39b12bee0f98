import type { PeftAdapter, Preflight, TuneOptions, TuneSettings, TuneStep, Tuning } from "../api.ts"
import type { Connection } from "./connection.ts"
import type { Wire, WorkerData, WorkerDataset, WorkerStore } from "./page_wire.ts"
import type { Id, TuningState, WireTuneOptions } from "./protocol.ts"
import { remote, type WorkerLanguageModel } from "./worker_model.ts"

/** As for the session, but for an optimizer of one's own, whose updates are made of GPU work. */
export type WorkerTuneOptions = Omit<TuneOptions, "optimizer" | "store" | "heldOut" | "reopen"> & {
  readonly optimizer?: "adamw" | "sgd" | undefined
  /** Where to keep the run's files. */
  readonly store?: WorkerStore | undefined
  /** Records to measure by and not to learn. */
  readonly heldOut?: number | WorkerDataset | undefined
  /** Loads the model again, into the same worker, when its device is lost; the run then goes on from the last checkpoint. */
  readonly reopen?: (() => Promise<WorkerLanguageModel>) | undefined
}

/** What cannot be as it is in the session. */
type Different = "settings" | "lm" | "dispose" | typeof Symbol.asyncIterator

export interface WorkerTuningApi extends Pick<Tuning, Exclude<keyof Tuning, Different>>, AsyncIterable<TuneStep> {
  readonly lm: WorkerLanguageModel
  readonly settings: TuneSettings | undefined
  dispose(): Promise<void>
}

/**
 * A run of training in a worker. Iterate it for its steps: the worker makes one when it is asked for, so that a page that does not
 * ask lets the run rest. Between steps the model answers as it is then.
 */
export class WorkerTuning implements WorkerTuningApi {
  /** Undefined until the run is prepared. */
  settings: TuneSettings | undefined
  /** Every step's loss and every measurement so far. */
  readonly curve: Tuning["curve"] = []
  #lm: WorkerLanguageModel
  readonly #data: WorkerData
  readonly #options: WorkerTuneOptions
  readonly #connection: Connection
  readonly #wire: Wire
  #stopHearing: (() => void) | undefined
  #opened: Promise<Id> | undefined
  #state: Pick<TuningState, "step" | "saved"> = { step: 0, saved: undefined }

  constructor(lm: WorkerLanguageModel, data: WorkerData, options: WorkerTuneOptions) {
    this.#lm = lm
    this.#data = data
    this.#options = options
    this.#connection = remote(lm).connection
    this.#wire = this.#connection.wire()
  }

  /** The model that is trained: another object than at first, if its device was lost on the way. */
  get lm(): WorkerLanguageModel {
    return this.#lm
  }

  /** Updates done. */
  get step(): number {
    return this.#state.step
  }

  /** The last step that is in the store. */
  get saved(): number | undefined {
    return this.#state.saved
  }

  /** Makes the adapter and tells what the run will take, before it is allocated. Iterating does it by itself. */
  async prepare(): Promise<Preflight> {
    const { channel, tuning } = await this.#open()
    return channel.call("prepare", { tuning }, this.#onPrepare)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TuneStep, void, undefined> {
    const { channel, tuning } = await this.#open()
    const { signal } = this.#options
    yield* channel.stream("steps", { tuning }, { ahead: 1, signal, ...this.#onPrepare })
  }

  /** Writes the adapter or model as it is now, and what the run goes on from, into the store. */
  async save(): Promise<void> {
    const { channel, tuning } = await this.#open()
    await channel.call("save", { tuning })
  }

  /** The adapter as it is now, as plain LoRA on the untouched base. */
  async adapter(): Promise<PeftAdapter> {
    const { channel, tuning } = await this.#open()
    return channel.call("adapter", { tuning })
  }

  /** Gives back what only training needs. The adapter stays on; `lm.removeAdapter` takes it off. */
  async dispose(): Promise<void> {
    const tuning = await this.#opened?.catch(() => undefined)
    this.#opened = undefined
    try {
      const { channel } = this.#connection
      if (tuning !== undefined && !channel.ended) await channel.call("disposeTuning", { tuning })
    } finally {
      this.#stopHearing?.()
      this.#wire.release()
    }
  }

  get #onPrepare() {
    return { onEvent: ({ done, of }: { done: number; of: number }) => this.#options.onPrepare?.(done, of) }
  }

  async #open() {
    this.#opened ??= this.#begin()
    return { channel: this.#connection.channel, tuning: await this.#opened }
  }

  async #begin(): Promise<Id> {
    const wire = this.#wire
    const { id: model } = remote(this.#lm)
    const { signal: _, onPrepare: __, store, heldOut, reopen, ...plain } = this.#options
    const options: WireTuneOptions = {
      ...plain,
      store: store === undefined ? undefined : wire.store(store),
      heldOut: typeof heldOut === "number" || heldOut === undefined ? heldOut : wire.dataset(heldOut),
      reopen: reopen && wire.reopen(() => this.#reopen(reopen)),
    }
    const args = { model, data: wire.data(this.#data), options }
    const { tuning, settings } = await this.#connection.channel.call("tune", args)
    this.settings = settings
    this.#stopHearing = this.#connection.onTuning(tuning, (state) => this.#note(state))
    return tuning
  }

  async #reopen(reopen: () => Promise<WorkerLanguageModel>): Promise<Id> {
    const lm = await reopen()
    const { connection, id } = remote(lm)
    if (connection !== this.#connection) {
      throw new RangeError(`tune: reopened model ${lm.name} is in another worker, expected this one`)
    }
    this.#lm = lm
    return id
  }

  #note({ step, saved, from, points }: TuningState): void {
    this.#state = { step, saved }
    this.curve.splice(from, this.curve.length, ...points)
  }
}
