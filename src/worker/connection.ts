import { Channel, type EnginePort } from "./channel.ts"
import { PageObjects } from "./page_objects.ts"
import { Wire } from "./page_wire.ts"
import type { HostMethods, Id, ModelNotice, Notice, PageMethods, TuningState } from "./protocol.ts"
import { WorkerError } from "./wire_errors.ts"

/** The page's end: what it asks of the engine, what the engine asks of it, and who hears what the engine tells. */
export class Connection {
  readonly channel: Channel<HostMethods, PageMethods, never, Notice>
  readonly #objects = new PageObjects()
  readonly #models = new Map<Id, (notice: ModelNotice) => void>()
  readonly #tunings = new Map<Id, (state: TuningState) => void>()

  constructor(port: EnginePort, onEnd: () => void) {
    const readChunks = (chunks: Id) => this.channel.stream("chunks", { chunks }, { ahead: 2 })
    this.channel = new Channel(port, {
      handlers: this.#objects.handlers(readChunks),
      onNotice: (notice) => this.#hear(notice),
      onEnd,
    })
  }

  /** For what a call hands to the engine. */
  wire(): Wire {
    return new Wire(this.#objects)
  }

  /** Hears of a model until what is given back is called. */
  onModel(id: Id, hear: (notice: ModelNotice) => void): () => void {
    this.#models.set(id, hear)
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
    if ("model" in notice) this.#models.get(notice.model)?.(notice)
    else this.#tunings.get(notice.tuning)?.(notice.state)
  }
}
