import { Channel, type EnginePort } from "./channel.ts"
import { PageObjects } from "./page_objects.ts"
import { Wire } from "./page_wire.ts"
import type { HostMethods, Id, ModelState, Notice, PageMethods, TuningState } from "./protocol.ts"
import { fromWire, WorkerError } from "./wire_errors.ts"

/** What is told of a model. */
export interface ModelListener {
  onState(state: ModelState): void
  /** Its prefixes could not be used or written. */
  onSkip(reason: string): void
  /** Its device is lost, or its engine has died. */
  onLost(error: Error): void
}

/** The page's end: what it asks of the engine, what the engine asks of it, and who hears what the engine tells. */
export class Connection {
  readonly channel: Channel<HostMethods, PageMethods, never, Notice>
  readonly #objects = new PageObjects()
  readonly #models = new Map<Id, ModelListener>()
  readonly #tunings = new Map<Id, (state: TuningState) => void>()

  constructor(port: EnginePort, onEnd: () => void) {
    const readChunks = (chunks: Id) => this.channel.stream("chunks", { chunks }, { ahead: 2 })
    this.channel = new Channel(port, {
      handlers: this.#objects.handlers(readChunks),
      onNotice: (notice) => this.#hear(notice),
      onEnd: (error) => {
        onEnd()
        if (!(error instanceof WorkerError && error.kind === "terminated")) this.#loseModels(error)
      },
    })
  }

  /** For what a call hands to the engine. */
  wire(): Wire {
    return new Wire(this.#objects)
  }

  /** Hears of a model until what is given back is called. */
  onModel(id: Id, listener: ModelListener): () => void {
    this.#models.set(id, listener)
    return () => this.#models.delete(id)
  }

  /** Hears of a run until what is given back is called. */
  onTuning(id: Id, hear: (state: TuningState) => void): () => void {
    this.#tunings.set(id, hear)
    return () => this.#tunings.delete(id)
  }

  terminate(): void {
    this.channel.end(new WorkerError("terminated", "worker: engine is terminated, expected a running one"))
  }

  #hear(notice: Notice): void {
    if ("tuning" in notice) {
      this.#tunings.get(notice.tuning)?.(notice.state)
      return
    }
    const listener = this.#models.get(notice.model)
    if ("state" in notice) listener?.onState(notice.state)
    else if ("lost" in notice) listener?.onLost(fromWire(notice.lost))
    else listener?.onSkip(notice.skipped)
  }

  #loseModels(error: Error): void {
    for (const listener of this.#models.values()) listener.onLost(error)
  }
}
