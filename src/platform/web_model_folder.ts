import type { RemoteFile } from "../hub/client.ts"
import { HubError } from "../hub/errors.ts"
import { startHash } from "../hub/hash.ts"
import type { ProgressMeter } from "../hub/progress.ts"
import { type Origin, transfer } from "../hub/transfer.ts"
import { ignoreMissing } from "./web_files.ts"
import { PiecesFile, piecesIn } from "./web_pieces.ts"

/** What a model is made of, and where it is from. */
export interface Manifest {
  readonly id: string
  /** The branch, tag or commit that was asked for; absent for an import. */
  readonly revision?: string | undefined
  readonly commit?: string | undefined
  readonly files: readonly RemoteFile[]
}

const CURRENT = "model.json"
const PENDING = "pending.json"
const USED = "used"
const BLOBS = "blobs"
const WHOLE = "whole"

/**
 * One model's folder:
 * ```
 * model.json           its manifest, once every file of it is whole
 * pending.json         that of a download or import underway
 * used                 empty; its time is that of the last use
 * blobs/<hash>/        a file's content: its pieces 0, 1, 2, ... and an empty `whole` once its hash was found right
 * ```
 * Content lies under its hash, so that a file which changes begins anew and one which does not is not brought again.
 */
export class ModelFolder {
  readonly #folder: FileSystemDirectoryHandle

  constructor(folder: FileSystemDirectoryHandle) {
    this.#folder = folder
  }

  /** The manifest of a model whose files are all here. */
  async current(): Promise<Manifest | undefined> {
    const manifest = await this.#read(CURRENT)
    if (!manifest) return undefined
    for (const file of manifest.files) if (!(await this.isWhole(file))) return undefined
    return manifest
  }

  /** The manifest of what was begun: a download underway, or a model that has lost a file. */
  async begun(): Promise<Manifest | undefined> {
    return (await this.#read(PENDING)) ?? (await this.#read(CURRENT))
  }

  /** Remembers what is to come before any of it is here. */
  async begin(manifest: Manifest): Promise<void> {
    await writeFile(this.#folder, PENDING, JSON.stringify(manifest))
  }

  /** The files of a manifest are all here: it is the model now, and what else lies here goes. */
  async finish(manifest: Manifest): Promise<void> {
    await writeFile(this.#folder, CURRENT, JSON.stringify(manifest))
    await this.#folder.removeEntry(PENDING).catch(ignoreMissing)
    const wanted = new Set(manifest.files.map(({ etag }) => etag))
    const blobs = await this.#blobs(false)
    for (const name of blobs ? await namesIn(blobs) : []) {
      if (!wanted.has(name)) await blobs!.removeEntry(name, { recursive: true }).catch(ignoreMissing)
    }
    await this.touch()
  }

  /** Brings a file from its first missing byte, and finds its hash right. What has arrived stays, unless the hash is wrong. */
  async fetch(origin: Origin, file: RemoteFile, progress: ProgressMeter, pieceBytes: number): Promise<void> {
    if (!(await this.isWhole(file))) {
      const blobs = (await this.#blobs(true))!
      const blob = await blobs.getDirectoryHandle(file.etag, { create: true })
      const partial = await PiecesFile.open(blob, file, pieceBytes)
      try {
        await transfer(origin, file, partial, startHash, progress)
        await writeFile(blob, WHOLE, "")
      } catch (error) {
        await partial.flush().catch(() => {}) // the first error says more
        if (partial.size === 0) await blobs.removeEntry(file.etag, { recursive: true }).catch(ignoreMissing)
        throw error
      }
    }
    progress.finish(file.path, file.size)
  }

  /** A file's content as far as it is here, read where it lies. */
  async content({ etag }: RemoteFile): Promise<Blob> {
    const blob = await this.#blob(etag)
    return new Blob(blob ? await piecesIn(blob) : [])
  }

  /** Whether all of a file is here and its hash was found right. */
  async isWhole(file: RemoteFile): Promise<boolean> {
    const blob = await this.#blob(file.etag)
    const whole = await blob?.getFileHandle(WHOLE).catch(ignoreMissing)
    return whole !== undefined && (await this.content(file)).size === file.size
  }

  /** Bytes of some files that are here already. */
  async loadedBytes(files: readonly RemoteFile[]): Promise<number> {
    let bytes = 0
    for (const file of files) bytes += Math.min(file.size, (await this.content(file)).size)
    return bytes
  }

  /** Bytes that lie here, those of unfinished and earlier files included. */
  async storedBytes(): Promise<number> {
    const blobs = await this.#blobs(false)
    let bytes = 0
    for (const etag of blobs ? await namesIn(blobs) : []) {
      const blob = await this.#blob(etag)
      if (blob) bytes += new Blob(await piecesIn(blob)).size
    }
    return bytes
  }

  /** A file's own time cannot be set, but writing sets it. */
  async touch(): Promise<void> {
    await writeFile(this.#folder, USED, "")
  }

  /** When the model was last opened or brought, in ms since 1970. */
  async usedAt(): Promise<number | undefined> {
    const handle = await this.#folder.getFileHandle(USED).catch(ignoreMissing)
    return handle && (await handle.getFile()).lastModified
  }

  /** A damaged manifest is none: the files are under their hashes, and the next download finds them. */
  async #read(name: string): Promise<Manifest | undefined> {
    const handle = await this.#folder.getFileHandle(name).catch(ignoreMissing)
    if (!handle) return undefined
    try {
      const manifest: unknown = JSON.parse(await (await handle.getFile()).text())
      return isManifest(manifest) ? manifest : undefined
    } catch {
      return undefined
    }
  }

  async #blobs(create: boolean): Promise<FileSystemDirectoryHandle | undefined> {
    return this.#folder.getDirectoryHandle(BLOBS, { create }).catch(ignoreMissing)
  }

  async #blob(etag: string): Promise<FileSystemDirectoryHandle | undefined> {
    return (await this.#blobs(false))?.getDirectoryHandle(etag).catch(ignoreMissing)
  }
}

export async function namesIn(folder: FileSystemDirectoryHandle): Promise<string[]> {
  const names: string[] = []
  for await (const [name, { kind }] of folder.entries()) if (kind === "directory") names.push(name)
  return names.sort()
}

async function writeFile(folder: FileSystemDirectoryHandle, name: string, text: string): Promise<void> {
  const writable = await (await folder.getFileHandle(name, { create: true })).createWritable()
  try {
    if (text !== "") await writable.write(text)
    await writable.close()
  } catch (error) {
    await writable.abort().catch(() => {})
    if (!(error instanceof DOMException && error.name === "QuotaExceededError")) throw error
    throw new HubError("space", `${name}: the browser's storage is full; remove a model or free some disk`)
  }
}

function isManifest(value: unknown): value is Manifest {
  const { id, files } = (value ?? {}) as Partial<Manifest>
  if (typeof id !== "string" || !Array.isArray(files)) return false
  return files.every(
    ({ path, size, etag }: Partial<RemoteFile>) =>
      typeof path === "string" && Number.isSafeInteger(size) && /^[0-9a-f]{40,64}$/.test(String(etag)),
  )
}
