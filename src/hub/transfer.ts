import { createHash, type Hash } from "node:crypto"
import { constants, type FileHandle, open, rename, rm } from "node:fs/promises"
import type { HubClient, RemoteFile } from "./client.ts"
import { HubError } from "./errors.ts"
import type { ProgressMeter } from "./progress.ts"
import { Backoff } from "./retry.ts"

/** So much in one connection is progress: the failures before it are forgotten. */
const PROGRESS = 1024 * 1024
const CHUNK = 1024 * 1024

/**
 * Brings a file to `blob`, continuing what `<blob>.incomplete` holds. It gets its name only when its hash is right;
 * a wrong hash is tried once more from the first byte. The caller holds the blob's lock.
 */
export async function transfer(
  client: HubClient,
  commit: string,
  file: RemoteFile,
  blob: string,
  progress: ProgressMeter,
): Promise<void> {
  const partial = `${blob}.incomplete`
  for (let clean = false; ; clean = true) {
    const actual = await receive(client, commit, file, partial, progress)
    if (actual === file.etag) break
    await rm(partial, { force: true })
    if (!clean) continue
    const what = `${file.algorithm} is ${actual}, expected ${file.etag}`
    throw new HubError("corrupt", `${file.path}: ${what} (received twice; does a proxy alter it?)`)
  }
  await rename(partial, blob)
}

/** @returns the hash of the whole file, as its etag is written */
async function receive(
  client: HubClient,
  commit: string,
  file: RemoteFile,
  partial: string,
  progress: ProgressMeter,
): Promise<string> {
  const handle = await open(partial, constants.O_RDWR | constants.O_CREAT, 0o644)
  try {
    const sink = await Sink.resume(handle, file, client.signal)
    progress.place(file.path, sink.offset)
    const backoff = new Backoff(client.patience, client.signal)
    while (sink.offset < file.size) {
      const before = sink.offset
      try {
        await receiveOnce(client, commit, file, sink, progress)
      } catch (error) {
        if (sink.offset === file.size) break // broken after the last byte
        if (sink.offset - before >= PROGRESS) backoff.reset()
        await backoff.pause(error)
      }
    }
    await handle.sync()
    return sink.digest()
  } finally {
    await handle.close()
  }
}

/** One connection: as far as it goes. Throws unless the file is whole. */
async function receiveOnce(
  client: HubClient,
  commit: string,
  file: RemoteFile,
  sink: Sink,
  progress: ProgressMeter,
): Promise<void> {
  const watch = new StallWatch(client.patience.stall)
  const signal = client.signal ? AbortSignal.any([client.signal, watch.signal]) : watch.signal
  try {
    const { start, body } = await client.open(commit, file, sink.offset, signal)
    if (start !== sink.offset) {
      await sink.restart()
      progress.place(file.path, 0)
    }
    for await (const chunk of body) {
      watch.touch()
      if (sink.offset + chunk.length > file.size) {
        await sink.restart()
        throw new HubError("changed", `${file.path}: size exceeds the listed ${file.size} bytes; run again`)
      }
      await sink.write(chunk)
      progress.receive(chunk.length)
    }
    if (sink.offset < file.size) {
      throw new HubError("network", `${file.path}: answer ends at byte ${sink.offset}, expected ${file.size}`)
    }
  } finally {
    watch.stop()
  }
}

/** The partial file and the hash of what is in it. */
class Sink {
  readonly #handle: FileHandle
  readonly #file: RemoteFile
  #hash: Hash
  offset = 0

  private constructor(handle: FileHandle, file: RemoteFile) {
    this.#handle = handle
    this.#file = file
    this.#hash = startHash(file)
  }

  /** Reads what an earlier run left. */
  static async resume(handle: FileHandle, file: RemoteFile, signal?: AbortSignal): Promise<Sink> {
    const sink = new Sink(handle, file)
    const { size } = await handle.stat()
    if (size > file.size) {
      await handle.truncate(0)
      return sink
    }
    const buffer = Buffer.allocUnsafe(Math.min(size, CHUNK))
    while (sink.offset < size) {
      signal?.throwIfAborted()
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, sink.offset)
      if (bytesRead === 0) break
      sink.#hash.update(buffer.subarray(0, bytesRead))
      sink.offset += bytesRead
    }
    return sink
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, this.offset + done)
        done += bytesWritten
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error
      const what = `disk is full at byte ${this.offset} of ${this.#file.size}`
      throw new HubError("space", `${this.#file.path}: ${what}; free some space, the next run continues here`)
    }
    this.#hash.update(bytes)
    this.offset += bytes.length
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0)
    this.#hash = startHash(this.#file)
    this.offset = 0
  }

  digest(): string {
    return this.#hash.digest("hex")
  }
}

/** Git hashes a header before the bytes. */
function startHash(file: RemoteFile): Hash {
  return file.algorithm === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${file.size}\0`)
}

/** Aborts when nothing has happened for a while. */
class StallWatch {
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout

  constructor(ms: number) {
    this.#timer = setTimeout(() => this.#controller.abort(new Error(`no data for ${ms / 1000} s`)), ms)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  touch(): void {
    this.#timer.refresh()
  }

  /** Also closes a connection that was left in the middle. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#controller.abort()
  }
}
