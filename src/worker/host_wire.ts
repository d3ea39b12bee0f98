import {
  blobSource,
  type DataRecord,
  type Dataset,
  type Folder,
  filesFolder,
  type ModelLocation,
  openDataset,
  type PrefixStore,
  type Source,
  type Store,
} from "../api.ts"
import { hubLocation } from "../hub/model_id.ts"
import type { Channel } from "./channel.ts"
import type {
  HostMethods,
  Id,
  Notice,
  PageMethods,
  WireData,
  WireDataset,
  WireFile,
  WireFolder,
  WireFolderLocation,
  WireLocation,
  WirePrefixStore,
  WireStore,
} from "./protocol.ts"
import { Moved } from "./served.ts"

type Browser = typeof import("../browser.ts")

/** What an engine does its work with. */
export interface EngineApi extends Pick<Browser, "load" | "open" | "merge" | "pack" | "quantize"> {
  /** A store by its name: in browsers a folder of the origin's private file system. */
  readonly openStore: (name: string) => Store
  /** A folder that the user has picked. */
  readonly handleStore?: (handle: FileSystemDirectoryHandle) => Store
  /** The models that the browser keeps. */
  readonly modelStore?: Browser["modelStore"]
}

export type HostChannel = Channel<PageMethods, HostMethods, Notice>
type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

/** Makes of wire forms what the engine works with. What is the page's own is read and written through messages. */
export class HostWire {
  readonly #api: EngineApi
  readonly #channel: () => HostChannel
  readonly #chunks = new Map<Id, Chunks>()
  #count = 0

  constructor(api: EngineApi, channel: () => HostChannel) {
    this.#api = api
    this.#channel = channel
  }

  get channel(): HostChannel {
    return this.#channel()
  }

  location(location: WireLocation): ModelLocation | undefined {
    switch (location.kind) {
      case "embedded":
        return undefined
      case "name":
        return absolute(location.name, location.base)
      default:
        return this.folder(location)
    }
  }

  folder(location: WireFolderLocation): Folder {
    switch (location.kind) {
      case "files":
        return named(filesFolder(location.files.map(fileOf)), location.name)
      case "handle":
        return this.#handleStore(location.handle)
      case "page":
        return this.#folder(location)
    }
  }

  store(store: WireStore): Store {
    if (store.kind === "handle") return this.#handleStore(store.handle)
    return store.kind === "name" ? this.#api.openStore(store.name) : this.prefixStore(store)
  }

  prefixStore(store: Extract<WirePrefixStore, { kind: "page" }>): PrefixStore {
    const { folder } = store
    const call = this.channel.call.bind(this.channel)
    return {
      ...this.#folder(store),
      write: async (file, chunks) => {
        const id = ++this.#count
        this.#chunks.set(id, chunks)
        try {
          await call("write", { folder, file, chunks: id })
        } finally {
          this.#chunks.delete(id)
        }
      },
      stored: () => call("stored", { folder }),
      touch: (file) => call("touch", { folder, file }),
      remove: (file) => call("remove", { folder, file }),
    }
  }

  /** The bytes of a file that the page writes: copies, as the originals may be parts of what is still used. */
  async *chunks(id: Id): AsyncGenerator<Moved<Uint8Array<ArrayBuffer>>, void, void> {
    const chunks = this.#chunks.get(id)
    if (!chunks) throw new TypeError("store: file is written already, expected one that is being written")
    for await (const chunk of chunks) yield new Moved(Uint8Array.from(chunk))
  }

  /** Records as they are, or a dataset. */
  async data(data: WireData, skipBad: boolean | undefined): Promise<readonly DataRecord[] | Dataset> {
    return data.kind === "records" ? data.records : this.dataset(data, skipBad)
  }

  async dataset(data: WireDataset, skipBad: boolean | undefined): Promise<Dataset> {
    if (data.kind === "page") return this.#dataset(data)
    const sources = data.files.map(({ path, blob }) => ({ name: path, source: blobSource(blob, path) }))
    return openDataset(sources, { skipBad })
  }

  /** Loads a model again where the page says how: its number. */
  reopen(reopen: Id): Promise<Id> {
    return this.channel.call("reopen", { reopen })
  }

  #folder({ folder, name, file, lists }: WireFolder): Folder {
    const call = this.channel.call.bind(this.channel)
    return {
      name,
      file,
      open: async (file): Promise<Source | undefined> => {
        const byteLength = await call("openFile", { folder, file })
        if (byteLength === undefined) return undefined
        return { byteLength, slice: (start, end) => call("slice", { folder, file, start, end }) }
      },
      ...(lists && { list: () => call("list", { folder }) }),
      close: () => call("closeFolder", { folder }),
    }
  }

  #dataset({ dataset, name, count, skipped, fingerprint }: Extract<WireDataset, { kind: "page" }>): Dataset {
    const places = new Map<number, string>() // of what was read, until it is asked for
    return {
      name,
      count,
      skipped,
      fingerprint,
      read: async (index) => {
        const { record, where } = await this.channel.call("readRecord", { dataset, index })
        places.set(index, where)
        return record
      },
      where: (index) => {
        const place = places.get(index) ?? `${name}[${index}]`
        places.delete(index)
        return place
      },
    }
  }

  #handleStore(handle: FileSystemDirectoryHandle): Store {
    if (this.#api.handleStore) return this.#api.handleStore(handle)
    throw new TypeError(`${handle.name}: folder handle is of a browser, expected one there`)
  }
}

/** A worker would complete an address by its script's. Ids of the Hub are no addresses. */
function absolute(name: string, base: string | undefined): string {
  if (base === undefined || hubLocation(name)) return name
  return URL.canParse(name, base) ? new URL(name, base).href : name
}

function named(folder: Folder, name: string | undefined): Folder {
  return name === undefined ? folder : { ...folder, name }
}

/** A file under the path that it was picked with. */
function fileOf({ path, blob }: WireFile): File {
  const file = new File([blob], path.slice(path.lastIndexOf("/") + 1))
  Object.defineProperty(file, "webkitRelativePath", { value: path.includes("/") ? path : "" })
  return file
}
