import type { DataRecord, Dataset, Folder, ModelLocation, PrefixStore, Store } from "../api.ts"
import type { PageObjects } from "./page_objects.ts"
import type {
  Id,
  WireData,
  WireDataset,
  WireFile,
  WireFolder,
  WireFolderLocation,
  WireLocation,
  WirePrefixStore,
  WireStore,
} from "./protocol.ts"

/** Where a model or an adapter is: as for `load`, or a folder that the user picked or the origin keeps, or a kept model. */
export type WorkerLocation = ModelLocation | FileSystemDirectoryHandle | StoredFiles

/** A model's files as they lie in a store of models. */
export interface StoredFiles {
  readonly name: string
  readonly stored: readonly WireFile[]
}

/**
 * Where files go: the name of a folder of the origin's private file system, a folder that the user picked, or a store of the
 * page's own.
 */
export type WorkerStore = string | FileSystemDirectoryHandle | Store

/** Files of records, read in the worker, or a dataset of the page's own. */
export type WorkerDataset = Iterable<File> | Dataset

/** What there is to learn. */
export type WorkerData = readonly DataRecord[] | WorkerDataset

/** Makes wire forms of what a call refers to, and knows what of the page's it has handed out. */
export class Wire {
  readonly #objects: PageObjects
  readonly #ids: Id[] = []

  constructor(objects: PageObjects) {
    this.#objects = objects
  }

  /** The engine is done with what was handed out. */
  release(): void {
    this.#objects.release(this.#ids.splice(0))
  }

  location(location: WorkerLocation | undefined): WireLocation {
    if (location === undefined) return { kind: "embedded" }
    if (typeof location === "string" || location instanceof URL) {
      return { kind: "name", name: String(location), base: globalThis.document?.baseURI }
    }
    if ("stored" in location) return { kind: "files", files: location.stored, name: location.name }
    return this.folder(location)
  }

  folder(folder: Iterable<File> | Folder | FileSystemDirectoryHandle): WireFolderLocation {
    if (isHandle(folder)) return { kind: "handle", handle: folder }
    if ("open" in folder) return { kind: "page", ...this.#folder(folder) }
    return { kind: "files", files: [...folder].map(wireFile) }
  }

  store(store: WorkerStore): WireStore {
    if (typeof store === "string") return { kind: "name", name: store }
    return isHandle(store) ? { kind: "handle", handle: store } : { kind: "page", ...this.#folder(store) }
  }

  prefixStore(store: string | PrefixStore): WirePrefixStore {
    return typeof store === "string" ? { kind: "name", name: store } : { kind: "page", ...this.#folder(store) }
  }

  data(data: WorkerData): WireData {
    if ("read" in data) return this.dataset(data)
    const all: readonly unknown[] = [...data]
    const files = all.filter((each) => each instanceof Blob)
    if (files.length === 0) return { kind: "records", records: all as readonly DataRecord[] }
    if (files.length === all.length) return this.dataset(files as File[])
    throw new TypeError("tune: data are files and records, expected one of the two")
  }

  dataset(data: WorkerDataset): WireDataset {
    if (!("read" in data)) return { kind: "files", files: [...data].map(wireFile) }
    const { name, count, fingerprint, skipped } = data
    const plain = { count: skipped.count, messages: [...skipped.messages] }
    return {
      kind: "page",
      dataset: this.#keep(this.#objects.addDataset(data)),
      name,
      count,
      fingerprint,
      skipped: plain,
    }
  }

  reopen(reopen: () => Promise<Id>): Id {
    return this.#keep(this.#objects.addReopen(reopen))
  }

  #folder(folder: Folder): WireFolder {
    const { name, file, list } = folder
    return { folder: this.#keep(this.#objects.addFolder(folder)), name, file, lists: list !== undefined }
  }

  #keep(id: Id): Id {
    this.#ids.push(id)
    return id
  }
}

/** A Blob goes across everywhere, a File with its path does not. */
function wireFile(file: File): WireFile {
  return { path: file.webkitRelativePath || file.name, blob: file.slice() }
}

function isHandle(value: object): value is FileSystemDirectoryHandle {
  return typeof FileSystemDirectoryHandle !== "undefined" && value instanceof FileSystemDirectoryHandle
}
