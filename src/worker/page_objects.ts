import type { Dataset, Folder, PrefixStore, Source, Store } from "../api.ts"
import type { Id, PageMethods } from "./protocol.ts"
import type { Handlers } from "./served.ts"

/** What reads the chunks of a file that the engine writes. */
export type ReadChunks = (chunks: Id) => AsyncIterable<Uint8Array>

/** A folder of the page's, with what of it is open. */
interface Shared {
  readonly folder: Folder | Store | PrefixStore
  readonly open: Map<string, Source>
}

/** Loads a model again, and gives its number. */
export type Reopen = () => Promise<Id>

/** What the engine works with here, by the numbers that it knows. */
export class PageObjects {
  readonly #folders = new Map<Id, Shared>()
  readonly #datasets = new Map<Id, Dataset>()
  readonly #reopens = new Map<Id, Reopen>()
  #count = 0

  addFolder(folder: Folder | Store | PrefixStore): Id {
    this.#folders.set(++this.#count, { folder, open: new Map() })
    return this.#count
  }

  addDataset(dataset: Dataset): Id {
    this.#datasets.set(++this.#count, dataset)
    return this.#count
  }

  addReopen(reopen: Reopen): Id {
    this.#reopens.set(++this.#count, reopen)
    return this.#count
  }

  /** Lets go of what the engine does not need any more. */
  release(ids: Iterable<Id>): void {
    for (const id of ids) for (const kind of [this.#folders, this.#datasets, this.#reopens]) kind.delete(id)
  }

  /** What the engine may ask of them. */
  handlers(readChunks: ReadChunks): Handlers<PageMethods> {
    return {
      openFile: async ({ folder, file }) => {
        const shared = this.#folder(folder)
        const source = await shared.folder.open(file)
        if (!source) return undefined
        shared.open.set(file, source)
        return source.byteLength
      },
      slice: async ({ folder, file, start, end }) => {
        const source = this.#folder(folder).open.get(file)
        if (!source) throw new TypeError(`${file}: file is closed, expected an open one`)
        return source.slice(start, end)
      },
      list: async ({ folder }) => (await this.#folder(folder).folder.list?.()) ?? [],
      closeFolder: async ({ folder }) => {
        const shared = this.#folder(folder)
        shared.open.clear()
        await shared.folder.close?.()
      },
      write: ({ folder, file, chunks }) => this.#store(folder).write(file, readChunks(chunks)),
      stored: ({ folder }) => this.#prefixes(folder).stored(),
      touch: ({ folder, file }) => this.#prefixes(folder).touch(file),
      remove: ({ folder, file }) => this.#prefixes(folder).remove(file),
      readRecord: async ({ dataset, index }) => {
        const data = this.#datasets.get(dataset)
        if (!data) throw released("dataset")
        return { record: await data.read(index), where: data.where(index) }
      },
      reopen: ({ reopen }) => {
        const again = this.#reopens.get(reopen)
        if (!again) throw released("reopen")
        return again()
      },
    }
  }

  #folder(id: Id): Shared {
    const found = this.#folders.get(id)
    if (!found) throw released("folder")
    return found
  }

  #store(id: Id): Store {
    const { folder } = this.#folder(id)
    if ("write" in folder) return folder
    throw new TypeError(`${folder.name}: write is missing, expected a store`)
  }

  #prefixes(id: Id): PrefixStore {
    const { folder } = this.#folder(id)
    if ("stored" in folder) return folder
    throw new TypeError(`${folder.name}: stored is missing, expected a store for prefixes`)
  }
}

function released(what: string): TypeError {
  return new TypeError(`${what}: is released, expected one that the engine still works with`)
}
