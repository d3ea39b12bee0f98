import { createHash } from "node:crypto"
import { constants, type FileHandle, open } from "node:fs/promises"
import type { RemoteFile } from "./client.ts"
import { HubError } from "./errors.ts"
import { gitHeader, type StartHash } from "./hash.ts"
import type { PartialFile } from "./transfer.ts"

const CHUNK = 1024 * 1024

/** OpenSSL's hashes. */
export const startNodeHash: StartHash = (algorithm, size) =>
  algorithm === "sha256" ? createHash("sha256") : createHash("sha1").update(gitHeader(size))

/** A partial file on the disk. */
export class NodePartial implements PartialFile, AsyncDisposable {
  readonly #handle: FileHandle
  readonly #file: RemoteFile
  #size: number

  private constructor(handle: FileHandle, file: RemoteFile, size: number) {
    this.#handle = handle
    this.#file = file
    this.#size = size
  }

  static async open(path: string, file: RemoteFile): Promise<NodePartial> {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644)
    return new NodePartial(handle, file, (await handle.stat()).size)
  }

  get size(): number {
    return this.#size
  }

  async *read(): AsyncGenerator<Uint8Array> {
    const buffer = Buffer.allocUnsafe(Math.min(this.#size, CHUNK))
    for (let at = 0; at < this.#size; ) {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, at)
      if (bytesRead === 0) break
      yield buffer.subarray(0, bytesRead)
      at += bytesRead
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, this.#size + done)
        done += bytesWritten
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error
      const what = `disk is full at byte ${this.#size} of ${this.#file.size}`
      throw new HubError("space", `${this.#file.path}: ${what}; free some space, the next run continues here`)
    }
    this.#size += bytes.length
  }

  async clear(): Promise<void> {
    await this.#handle.truncate(0)
    this.#size = 0
  }

  async flush(): Promise<void> {
    await this.#handle.sync()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }
}
