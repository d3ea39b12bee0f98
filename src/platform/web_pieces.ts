import type { RemoteFile } from "../hub/client.ts"
import { HubError } from "../hub/errors.ts"
import { formatBytes } from "../hub/progress.ts"
import type { PartialFile } from "../hub/transfer.ts"
import { ignoreMissing } from "./web_files.ts"

/** Bytes of a piece: what is lost at most when a tab is closed. */
export const PIECE_BYTES = 32 * 2 ** 20

/** A write goes to another process, so small ones are gathered. */
const WRITE_BYTES = 2 ** 20

/** The bytes of a folder whose files are named 0, 1, 2, ...: its files in order. */
export async function piecesIn(folder: FileSystemDirectoryHandle): Promise<File[]> {
  const pieces: File[] = []
  while (true) {
    const handle = await folder.getFileHandle(String(pieces.length)).catch(ignoreMissing)
    if (!handle) return pieces
    pieces.push(await handle.getFile())
  }
}

/**
 * A partial file in pieces. What `createWritable` writes counts when it is closed, and to append to a file copies it first;
 * so a large one is written as several that are closed one by one, and read as one Blob.
 */
export class PiecesFile implements PartialFile {
  readonly #folder: FileSystemDirectoryHandle
  readonly #file: RemoteFile
  readonly #pieceBytes: number
  readonly #gathered = new Uint8Array(WRITE_BYTES)
  #gatheredBytes = 0
  /** Pieces that are closed. */
  #pieces: File[]
  #closedBytes: number
  #open: { writable: FileSystemWritableFileStream; bytes: number } | undefined

  private constructor(folder: FileSystemDirectoryHandle, file: RemoteFile, pieceBytes: number, pieces: File[]) {
    this.#folder = folder
    this.#file = file
    this.#pieceBytes = pieceBytes
    this.#pieces = pieces
    this.#closedBytes = new Blob(pieces).size
  }

  static async open(folder: FileSystemDirectoryHandle, file: RemoteFile, pieceBytes: number): Promise<PiecesFile> {
    return new PiecesFile(folder, file, pieceBytes, await piecesIn(folder))
  }

  get size(): number {
    return this.#closedBytes + (this.#open?.bytes ?? 0) + this.#gatheredBytes
  }

  /** What is closed: nothing else is there when a transfer begins. */
  async *read(): AsyncGenerator<Uint8Array> {
    const blob = new Blob(this.#pieces)
    for (let at = 0; at < blob.size; at += WRITE_BYTES) {
      yield new Uint8Array(await blob.slice(at, at + WRITE_BYTES).arrayBuffer())
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + WRITE_BYTES - this.#gatheredBytes)
      this.#gathered.set(part, this.#gatheredBytes)
      this.#gatheredBytes += part.length
      at += part.length
      if (this.#gatheredBytes === WRITE_BYTES) await this.#writeGathered()
    }
  }

  async clear(): Promise<void> {
    await this.#discard()
    for (let i = this.#pieces.length; i > 0; i--) await this.#folder.removeEntry(String(i - 1)).catch(ignoreMissing)
    this.#pieces = []
    this.#closedBytes = 0
  }

  /** Closes the last piece, whatever its size. */
  async flush(): Promise<void> {
    if (this.#gatheredBytes > 0) await this.#writeGathered()
    if (this.#open) await this.#orSpace(() => this.#closePiece())
  }

  #writeGathered(): Promise<void> {
    return this.#orSpace(async () => {
      this.#open ??= { writable: await this.#nextPiece(), bytes: 0 }
      await this.#open.writable.write(this.#gathered.subarray(0, this.#gatheredBytes))
      this.#open.bytes += this.#gatheredBytes
      this.#gatheredBytes = 0
      if (this.#open.bytes >= this.#pieceBytes) await this.#closePiece()
    })
  }

  async #nextPiece(): Promise<FileSystemWritableFileStream> {
    const handle = await this.#folder.getFileHandle(String(this.#pieces.length), { create: true })
    return handle.createWritable()
  }

  async #closePiece(): Promise<void> {
    await this.#open!.writable.close()
    const handle = await this.#folder.getFileHandle(String(this.#pieces.length))
    this.#pieces.push(await handle.getFile())
    this.#closedBytes += this.#open!.bytes
    this.#open = undefined
  }

  /** The piece that is open, and what it would have got, are let go. */
  async #discard(): Promise<void> {
    const open = this.#open
    this.#open = undefined
    this.#gatheredBytes = 0
    await open?.writable.abort().catch(() => {}) // it may have failed already
    await this.#folder.removeEntry(String(this.#pieces.length)).catch(ignoreMissing)
  }

  async #orSpace(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      await this.#discard()
      if (!isQuota(error)) throw error
      const { path, size } = this.#file
      const missing = formatBytes(size - this.#closedBytes)
      const what = `the browser's storage is full at byte ${this.#closedBytes} of ${size}, ${missing} short`
      throw new HubError(
        "space",
        `${path}: ${what}; remove a model or free some disk, the next download continues here`,
      )
    }
  }
}

function isQuota(error: unknown): boolean {
  return error instanceof DOMException && error.name === "QuotaExceededError"
}
