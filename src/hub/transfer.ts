import type { RemoteFile } from "./client.ts"
import { HubError } from "./errors.ts"
import type { Hash, StartHash } from "./hash.ts"
import type { ProgressMeter } from "./progress.ts"
import { Backoff, type Patience } from "./retry.ts"

/** So much in one connection is progress: the failures before it are forgotten. */
const PROGRESS = 1024 * 1024

/** Where files come from. */
export interface Origin {
  readonly patience: Patience
  readonly signal: AbortSignal | undefined
  /** The bytes of a file from `offset` on, or from the first where that cannot be. */
  open(file: RemoteFile, offset: number, signal: AbortSignal): Promise<Opened>
}

export interface Opened {
  /** Where the bytes really start: the offset asked for, or 0. */
  readonly start: number
  /** What the server calls this content, if it calls it anything. */
  readonly tag?: string | undefined
  readonly body: AsyncIterable<Uint8Array>
}

/** A file that is not whole yet. What is in it stays when the work is broken off. */
export interface PartialFile {
  /** Bytes that are here. */
  readonly size: number
  /** All of them, in order. */
  read(): AsyncIterable<Uint8Array>
  /** Appends. @throws HubError `space` on a full disk */
  write(bytes: Uint8Array): Promise<void>
  clear(): Promise<void>
  /** Brings to the disk what is written. */
  flush(): Promise<void>
}

/**
 * Completes a partial file from where it ends. A wrong hash is tried once more from the first byte.
 *
 * @throws HubError `corrupt` with both hashes, leaving nothing of the file
 */
export async function transfer(
  origin: Origin,
  file: RemoteFile,
  partial: PartialFile,
  startHash: StartHash,
  progress: ProgressMeter,
): Promise<void> {
  for (let clean = false; ; clean = true) {
    const actual = await receive(origin, file, new Sink(partial, file, startHash), progress)
    if (actual === file.etag) return
    await partial.clear()
    if (!clean) continue
    const what = `${file.algorithm} is ${actual}, expected ${file.etag}`
    throw new HubError("corrupt", `${file.path}: ${what} (received twice; does a proxy alter it?)`)
  }
}

/** @returns the hash of the whole file, as its etag is written */
async function receive(origin: Origin, file: RemoteFile, sink: Sink, progress: ProgressMeter): Promise<string> {
  await sink.resume(origin.signal)
  progress.place(file.path, sink.offset)
  const backoff = new Backoff(origin.patience, origin.signal)
  while (sink.offset < file.size) {
    const before = sink.offset
    try {
      await receiveOnce(origin, file, sink, progress)
    } catch (error) {
      if (sink.offset === file.size) break // broken after the last byte
      if (sink.offset - before >= PROGRESS) backoff.reset()
      await backoff.pause(error)
    }
  }
  await sink.flush()
  return sink.digest()
}

/** One connection: as far as it goes. Throws unless the file is whole. */
async function receiveOnce(origin: Origin, file: RemoteFile, sink: Sink, progress: ProgressMeter): Promise<void> {
  const watch = new StallWatch(origin.patience.stall)
  const signal = origin.signal ? AbortSignal.any([origin.signal, watch.signal]) : watch.signal
  try {
    const { start, tag, body } = await origin.open(file, sink.offset, signal)
    if (start !== sink.offset) {
      await sink.restart()
      progress.place(file.path, 0)
    }
    await sink.expectSame(tag)
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
  readonly #partial: PartialFile
  readonly #file: RemoteFile
  readonly #startHash: StartHash
  #hash: Hash
  #tag: string | undefined
  offset = 0

  constructor(partial: PartialFile, file: RemoteFile, startHash: StartHash) {
    this.#partial = partial
    this.#file = file
    this.#startHash = startHash
    this.#hash = startHash(file.algorithm, file.size)
  }

  /** Reads what an earlier run left. */
  async resume(signal: AbortSignal | undefined): Promise<void> {
    if (this.#partial.size > this.#file.size) await this.#partial.clear()
    for await (const bytes of this.#partial.read()) {
      signal?.throwIfAborted()
      this.#hash.update(bytes)
      this.offset += bytes.length
    }
  }

  /** What came before under another tag is of another file: with it goes the mixture. */
  async expectSame(tag: string | undefined): Promise<void> {
    const before = this.#tag
    this.#tag = tag ?? before
    if (this.offset === 0 || tag === undefined || before === undefined || tag === before) return
    await this.restart()
    throw new HubError("server", `${this.#file.path}: etag is ${tag}, expected ${before} as before`)
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.#partial.write(bytes)
    this.#hash.update(bytes)
    this.offset += bytes.length
  }

  async restart(): Promise<void> {
    await this.#partial.clear()
    this.#hash = this.#startHash(this.#file.algorithm, this.#file.size)
    this.offset = 0
  }

  flush(): Promise<void> {
    return this.#partial.flush()
  }

  digest(): string {
    return this.#hash.digest("hex")
  }
}

/** Aborts when nothing has happened for a while. */
class StallWatch {
  readonly #controller = new AbortController()
  readonly #ms: number
  #timer: ReturnType<typeof setTimeout>

  constructor(ms: number) {
    this.#ms = ms
    this.#timer = this.#start()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  touch(): void {
    clearTimeout(this.#timer)
    this.#timer = this.#start()
  }

  /** Also closes a connection that was left in the middle. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#controller.abort()
  }

  #start(): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.#controller.abort(new Error(`no data for ${this.#ms / 1000} s`)), this.#ms)
  }
}
