import type { Folder } from "../api.ts"
import type {
  ModelDownloadOptions,
  ModelImportOptions,
  ModelStore,
  OriginStorage,
  StoredModel,
  StoreOptions,
} from "../browser.ts"
import type { AskOptions } from "./asked.ts"
import type { Connection } from "./connection.ts"
import type { StoredFiles } from "./page_wire.ts"
import type { ModelStoreMethod, PlainStoreOptions, StoreEvent, WireModelStore } from "./store_protocol.ts"

/** As elsewhere, without a `fetch` of the page's. */
export type WorkerModelStoreOptions = WireModelStore

/** The models that the browser keeps for the origin: brought, hashed and written in the worker. */
export class WorkerModelStore implements Omit<ModelStore, "open" | "files"> {
  readonly #connection: Connection
  readonly #options: WorkerModelStoreOptions

  constructor(connection: Connection, options: WorkerModelStoreOptions) {
    this.#connection = connection
    this.#options = options
  }

  /** Brings a model from the Hub, or what is missing of it. */
  async download(id: string, options: ModelDownloadOptions = {}): Promise<StoredModel> {
    const args = { store: this.#options, id, options: plain(options) }
    return this.#connection.channel.call("downloadModel", args, listening(options))
  }

  /** Copies a model that the user has picked or dropped, after a look at its config and headers. */
  async import(
    from: Iterable<File> | Folder | FileSystemDirectoryHandle,
    options: ModelImportOptions = {},
  ): Promise<StoredModel> {
    const wire = this.#connection.wire()
    try {
      const args = { store: this.#options, from: wire.folder(from), options: plain(options) }
      return await this.#connection.channel.call("importModel", args, listening(options))
    } finally {
      wire.release()
    }
  }

  /** The models that are here, in part or whole. */
  list(): Promise<StoredModel[]> {
    return this.#ask("list")
  }

  /** A model's files as they lie, which `load` takes; they take no memory. @throws HubError `missing` unless it is complete */
  async open(id: string): Promise<StoredFiles> {
    return { name: id, stored: await this.#connection.channel.call("modelFiles", { store: this.#options, id }) }
  }

  /** Removes a model and what has arrived of one. @throws HubError `busy` while a tab is bringing it */
  remove(id: string): Promise<void> {
    return this.#ask("remove", id)
  }

  estimate(): Promise<OriginStorage> {
    return this.#ask("estimate")
  }

  /**
   * Asks the browser not to clear the origin's files by itself; a page can ask, a worker cannot.
   *
   * @returns whether they are safe now
   */
  async persist(): Promise<boolean> {
    const storage = globalThis.navigator?.storage as StorageManager | undefined
    return storage ? storage.persist() : this.#ask("persist")
  }

  #ask<M extends ModelStoreMethod>(method: M, ...args: Parameters<ModelStore[M]>): ReturnType<ModelStore[M]> {
    const asked = this.#connection.channel.call("askModelStore", { store: this.#options, method, args })
    return asked as ReturnType<ModelStore[M]>
  }
}

function plain<T extends StoreOptions>({ onProgress: _, signal: __, onWait: ___, ...options }: T) {
  return options as PlainStoreOptions<T>
}

function listening({ onProgress, signal, onWait }: StoreOptions): AskOptions<StoreEvent> {
  return { signal, onEvent: (event) => ("progress" in event ? onProgress?.(event.progress) : onWait?.()) }
}
