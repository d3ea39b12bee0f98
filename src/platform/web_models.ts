import { HubClient, type RemoteFile } from "../hub/client.ts"
import { HubError } from "../hub/errors.ts"
import {
  checkEndpoint,
  checkRevision,
  DEFAULT_ENDPOINT,
  DEFAULT_REVISION,
  type HubLocation,
  hubLocation,
} from "../hub/model_id.ts"
import { formatBytes, ProgressMeter } from "../hub/progress.ts"
import { PATIENCE } from "../hub/retry.ts"
import { isGguf } from "../model/gguf/find.ts"
import { blobSource, expectInside, type Folder, filesFolder, type Source } from "../model/source.ts"
import { handleStore, ignoreMissing, privateFolder } from "./web_files.ts"
import { originLocks } from "./web_locks.ts"
import { bring, downloadInto, type Place } from "./web_model_download.ts"
import { ModelFolder, namesIn } from "./web_model_folder.ts"
import { filesToImport, hashSources, nameOf, sourcesOrigin } from "./web_model_import.ts"
import type { ModelDownloadOptions, ModelImportOptions, ModelStoreOptions, StoreOptions } from "./web_model_options.ts"
import { PIECE_BYTES } from "./web_pieces.ts"
import { describe, type OriginStorage, type StoredModel } from "./web_stored_model.ts"

const DEFAULT_FOLDER = "gemlet-models"

/**
 * Models kept in the browser. A model goes by its Hub id, `owner/name`, or `owner/name/FILE.gguf` for one of several.
 * Methods that change a model have it alone, among all tabs.
 */
export class ModelStore {
  readonly #options: ModelStoreOptions
  readonly #endpoint: string
  readonly #name: string

  constructor(options: ModelStoreOptions) {
    const { folder = DEFAULT_FOLDER, endpoint = DEFAULT_ENDPOINT } = options
    this.#options = options
    this.#endpoint = checkEndpoint(endpoint)
    this.#name = typeof folder === "string" ? folder : folder.name
  }

  /**
   * Brings a model from the Hub, or what is missing of it. A model that is here already is brought up to its revision, and
   * stays as it is until the new one is whole, or if the Hub cannot be asked.
   *
   * @throws RangeError for a bad id, {@link HubError} with what to do for the rest
   */
  async download(id: string, options: ModelDownloadOptions = {}): Promise<StoredModel> {
    const location = expectLocation(id)
    const revision = checkRevision(options.revision ?? DEFAULT_REVISION)
    const { token, signal } = options
    const { fetch, patience } = this.#options
    const client = new HubClient({
      id: location.id,
      revision,
      endpoint: this.#endpoint,
      token,
      signal,
      fetch,
      patience: { ...PATIENCE, ...patience },
      inBrowser: true,
    })
    const wanted = { file: location.file, onProgress: options.onProgress }
    const folder = await this.#alone(id, options, () => downloadInto(this.#place(id), client, wanted))
    return describe(id, folder)
  }

  /**
   * Copies a model that the user has picked or dropped, after a look at its config and headers. Progress counts every byte
   * twice: to hash it, and to copy it and find the hash right.
   */
  async import(
    from: Iterable<File> | Folder | FileSystemDirectoryHandle,
    options: ModelImportOptions = {},
  ): Promise<StoredModel> {
    const { signal, onProgress, ignoreKeys } = options
    const folder = folderOf(from)
    const sources = await filesToImport(folder, { ignoreKeys })
    const id = options.id ?? (await this.#freeName(nameOf(folder, sources.keys()), sources))
    expectLocation(id)
    const total = [...sources.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
    const progress = new ProgressMeter(2 * total, onProgress)
    const imported = await this.#alone(id, options, async () => {
      const files = await hashSources(sources, progress, signal)
      return bring(this.#place(id), { id, files }, sourcesOrigin(sources, signal), progress)
    })
    return describe(id, imported)
  }

  /** The models that are here, in part or whole. */
  async list(): Promise<StoredModel[]> {
    const root = await this.#root()
    const models: StoredModel[] = []
    for (const name of await namesIn(root)) {
      const handle = await root.getDirectoryHandle(name).catch(ignoreMissing)
      const model = handle && (await describe(idOf(name), new ModelFolder(handle)).catch(ignoreMissing))
      if (model) models.push(model) // else another tab has removed it meanwhile
    }
    return models
  }

  /** A model's files as a folder that `load` takes; they are read where they lie. @throws HubError `missing` unless it is complete */
  async open(id: string): Promise<Folder> {
    const { folder, files } = await this.#complete(id)
    const byPath = new Map(files.map((file) => [file.path, file]))
    return {
      name: id,
      file: files.find(({ path }) => isGguf(path))?.path,
      async open(path) {
        expectInside(id, path)
        const file = byPath.get(path)
        return file && blobSource(await folder.content(file), path)
      },
      list: async () => [...byPath.keys()],
    }
  }

  /** A model's files, which a Worker's `load` reads by itself. They take no memory. @throws as {@link open} */
  async files(id: string): Promise<File[]> {
    const { folder, files } = await this.#complete(id)
    return Promise.all(files.map(async (file) => new File([await folder.content(file)], file.path)))
  }

  /** Removes a model and what has arrived of one. @throws HubError `busy` while a tab is bringing it */
  async remove(id: string): Promise<void> {
    const removed = await originLocks().tryRun(this.#lock(id), async () => {
      const root = await this.#root()
      await root.removeEntry(encodeURIComponent(id), { recursive: true }).catch(ignoreMissing)
    })
    if (!removed)
      throw new HubError("busy", `${id}: a download or import of it is underway, expected none; stop that first`)
  }

  async estimate(): Promise<OriginStorage> {
    const { quota, usage } = await navigator.storage.estimate()
    const models = await this.list()
    const persisted = await navigator.storage.persisted()
    return { quota, usage, models: models.reduce((sum, { storedBytes }) => sum + storedBytes, 0), persisted }
  }

  /**
   * Asks the browser not to clear the origin's files by itself; Firefox asks the user.
   *
   * @returns whether they are safe now. A worker cannot ask, and learns only how it is
   */
  async persist(): Promise<boolean> {
    const { storage } = navigator
    return "persist" in storage ? storage.persist() : (storage as StorageManager).persisted()
  }

  async #complete(id: string): Promise<{ folder: ModelFolder; files: readonly RemoteFile[] }> {
    expectLocation(id)
    const folder = await this.#place(id).find()
    const manifest = await folder?.current()
    if (folder && manifest) {
      await folder.touch().catch(() => {}) // a full disk is no reason not to read
      return { folder, files: manifest.files }
    }
    if (!folder)
      throw new HubError("missing", `${id}: not among the models kept here, expected it to be downloaded first`)
    const { loaded, bytes } = await describe(id, folder)
    const what = `${formatBytes(loaded)} of ${formatBytes(bytes)} are here, expected all`
    throw new HubError("missing", `${id}: ${what}; download it again, which goes on from there`)
  }

  /** Runs `work` while no other tab changes the model. */
  async #alone<T>(id: string, { signal, onWait }: StoreOptions, work: () => Promise<T>): Promise<T> {
    signal?.throwIfAborted()
    const locks = originLocks()
    const done = await locks.tryRun(this.#lock(id), work)
    if (done) return done.result
    onWait?.()
    return locks.run(this.#lock(id), signal, work)
  }

  /** A name that no other model has. Files of the same names and sizes are taken for the same model, brought again. */
  async #freeName(name: string, sources: ReadonlyMap<string, Source>): Promise<string> {
    for (let i = 1; ; i++) {
      const id = i === 1 ? name : `${name}-${i}`
      const begun = await (await this.#place(id).find())?.begun()
      const isSame = begun?.files.every(({ path, size }) => sources.get(path)?.byteLength === size)
      if (!begun || (isSame && begun.files.length === sources.size)) return id
    }
  }

  #place(id: string): Place {
    const folder = async (create: boolean) =>
      (await this.#root()).getDirectoryHandle(encodeURIComponent(id), { create })
    return {
      id,
      pieceBytes: this.#options.pieceBytes ?? PIECE_BYTES,
      async find() {
        const handle = await folder(false).catch(ignoreMissing)
        return handle && new ModelFolder(handle)
      },
      make: async () => new ModelFolder(await folder(true)),
    }
  }

  async #root(): Promise<FileSystemDirectoryHandle> {
    const { folder = DEFAULT_FOLDER } = this.#options
    if (typeof folder !== "string") return folder
    if (navigator.storage?.getDirectory === undefined) {
      throw new TypeError(
        "models: the browser keeps no files for this page, expected one served by https or from localhost",
      )
    }
    return privateFolder(folder)
  }

  #lock(id: string): string {
    return `${this.#name}/${id}`
  }
}

/** The models that this origin keeps, for pages and workers. Nothing is read or asked for until a method is called. */
export function modelStore(options: ModelStoreOptions = {}): ModelStore {
  return new ModelStore(options)
}

function expectLocation(id: string): HubLocation {
  const location = hubLocation(id)
  if (location) return location
  const what = "expected owner/name as on the Hub, or owner/name/FILE.gguf"
  throw new RangeError(`model: id is ${JSON.stringify(id)}, ${what}`)
}

function folderOf(from: Iterable<File> | Folder | FileSystemDirectoryHandle): Folder {
  if ("open" in from) return from
  return "getFileHandle" in from ? handleStore(from) : filesFolder(from)
}

function idOf(folderName: string): string {
  try {
    return decodeURIComponent(folderName)
  } catch {
    return folderName // of other making
  }
}
