import type {
  LoadBytes,
  LoadOptions,
  OpenModelOptions,
  PackOptions,
  PrefixCacheOptions,
  Quantization,
  QuantizeOptions,
} from "../api.ts"
import type { EnginePort } from "./channel.ts"
import { Connection } from "./connection.ts"
import type { Wire, WorkerLocation, WorkerStore } from "./page_wire.ts"
import type { CheckpointFacts, HostMethods, LoadEvent, WireLoadOptions } from "./protocol.ts"
import { remote, WorkerLanguageModel } from "./worker_model.ts"
import { WorkerModelStore, type WorkerModelStoreOptions } from "./worker_model_store.ts"

/** As for `load` elsewhere, with a model beside it that is in the same worker. */
export type WorkerLoadOptions = Omit<LoadOptions, "beside"> & { readonly beside?: WorkerLanguageModel | undefined }

/** As elsewhere, but for moments: weights are rounded as they are at load. */
export type WorkerQuantizeOptions = Omit<QuantizeOptions, "moments">

/** A checkpoint of which the worker has read the headers. */
export interface WorkerCheckpoint extends CheckpointFacts {
  /** What `load` would hold on the GPU with these options. */
  loadBytes(options?: HostMethods["loadBytes"]["args"]["options"]): Promise<LoadBytes>
  close(): Promise<void>
}

/** A Worker or a port that is to be ended with its engine. */
export type EngineThread = EnginePort & { terminate?(): void; close?(): void }

/** gemlet in another thread. It has models of its own; what loads `beside` another must be in the same engine. */
export class Engine {
  readonly #thread: EngineThread
  readonly #connection: Connection

  /** @param thread what serves an engine; by default a Worker of its own. Nothing else may listen to it */
  constructor(thread: EngineThread = startWorker()) {
    this.#thread = thread
    this.#connection = new Connection(thread, () => this.#release())
  }

  /** Why the engine is no more: a `WorkerError`. Undefined while it works. */
  get ended(): Error | undefined {
    return this.#connection.channel.ended
  }

  /** Loads a model in the worker: from where `load` does elsewhere, or from a folder handle. */
  async load(location?: WorkerLocation, options: WorkerLoadOptions = {}): Promise<WorkerLanguageModel> {
    const connection = this.#connection
    const wire = connection.wire()
    try {
      const args = { location: wire.location(location), options: this.#loadOptions(wire, options) }
      const { model: id, snapshot } = await connection.channel.call("load", args, listening(options))
      const onSkip = typeof options.prefixCache === "object" ? options.prefixCache.onSkip : undefined
      return new WorkerLanguageModel({ connection, id }, snapshot, wire, onSkip)
    } catch (error) {
      wire.release()
      throw error
    }
  }

  /** Reads a checkpoint's headers in the worker. */
  async open(location?: WorkerLocation, options: OpenModelOptions = {}): Promise<WorkerCheckpoint> {
    const { channel } = this.#connection
    const wire = this.#connection.wire()
    try {
      const args = { location: wire.location(location), options: plain(options) }
      const { checkpoint, facts } = await channel.call("open", args, listening(options))
      return {
        ...facts,
        loadBytes: (options = {}) => channel.call("loadBytes", { checkpoint, options }),
        close: async () => {
          await channel.call("close", { checkpoint })
          wire.release()
        },
      }
    } catch (error) {
      wire.release()
      throw error
    }
  }

  /** Writes a checkpoint with adapters added to its weights. */
  merge(
    location: WorkerLocation | undefined,
    adapters: readonly WorkerLocation[],
    store: WorkerStore,
    options: OpenModelOptions = {},
  ): Promise<void> {
    return this.#use((wire) => {
      const places = { location: wire.location(location), store: wire.store(store) }
      const args = { ...places, adapters: adapters.map((each) => wire.location(each)), options: plain(options) }
      return this.#connection.channel.call("merge", args, listening(options))
    })
  }

  /** Writes a checkpoint with its ternary weights as trits. */
  pack(location: WorkerLocation, store: WorkerStore, options: PackOptions = {}): Promise<void> {
    return this.#use((wire) => {
      const places = { location: wire.location(location), store: wire.store(store) }
      return this.#connection.channel.call("pack", { ...places, options: plain(options) }, listening(options))
    })
  }

  /** Writes a checkpoint with its weights in four or eight bits. */
  quantize(
    location: WorkerLocation | undefined,
    store: WorkerStore,
    { onWeight, ...options }: WorkerQuantizeOptions,
  ): Promise<Quantization> {
    return this.#use((wire) => {
      const places = { location: wire.location(location), store: wire.store(store) }
      const { signal, onEvent } = listening(options)
      return this.#connection.channel.call(
        "quantize",
        { ...places, options: plain(options) },
        {
          signal,
          onEvent: (event) => ("weight" in event ? onWeight?.(...event.weight) : onEvent(event)),
        },
      )
    })
  }

  /** The models that the browser keeps, for what a page may do with them. */
  modelStore(options: WorkerModelStoreOptions = {}): WorkerModelStore {
    return new WorkerModelStore(this.#connection, options)
  }

  /** Ends the engine at once, whatever it does: what it was asked for fails, and its memory is given back. */
  terminate(): void {
    this.#connection.terminate()
  }

  /** Does something with what is handed out for as long as that takes. */
  async #use<T>(work: (wire: Wire) => Promise<T>): Promise<T> {
    const wire = this.#connection.wire()
    try {
      return await work(wire)
    } finally {
      wire.release()
    }
  }

  #loadOptions(wire: Wire, { beside, prefixCache, ...options }: WorkerLoadOptions): WireLoadOptions {
    const other = beside && remote(beside)
    if (other && other.connection !== this.#connection) {
      throw new RangeError(`load: beside is ${beside!.name} of another worker, expected a model of this one`)
    }
    return { ...plain(options), beside: other?.id, prefixCache: wirePrefixes(wire, prefixCache) }
  }

  #release(): void {
    this.#thread.terminate?.()
    this.#thread.close?.()
  }
}

/** What goes across of options: all but what listens. */
function plain<T extends OpenModelOptions>({ onProgress: _, signal: __, ...options }: T) {
  return options
}

function listening({ onProgress, signal }: OpenModelOptions) {
  return { signal, onEvent: ({ progress }: LoadEvent) => onProgress?.(progress) }
}

function wirePrefixes(wire: Wire, prefixCache: LoadOptions["prefixCache"]): WireLoadOptions["prefixCache"] {
  if (prefixCache === undefined) return undefined
  const { store, maxBytes }: PrefixCacheOptions = typeof prefixCache === "string" ? { store: prefixCache } : prefixCache
  return { store: wire.prefixStore(store), maxBytes }
}

function startWorker(): Worker {
  if (typeof Worker === "undefined") {
    throw new TypeError("worker: Worker is missing, expected a browser, or a thread of one's own for the Engine")
  }
  // Bundlers recognise this form and make a script of it.
  return new Worker(new URL("./script.js", import.meta.url), { type: "module", name: "gemlet" })
}
