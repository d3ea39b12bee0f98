import { randomUUID } from "node:crypto"
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { expectInside, expectRange, type Folder, type Source } from "../model/source.ts"
import type { Store } from "../model/store.ts"

/** One read never asks for more: the system call's limit is just under 2 GiB. */
const READ_BYTES = 2 ** 28

/** A file on disk, open until `close`. */
export interface FileSource extends Source {
  close(): Promise<void>
}

/** Opens a file for reading at any position. */
export async function fileSource(path: string): Promise<FileSource> {
  // Looked at before it is opened: opening a pipe would wait for a writer.
  const found = await stat(path)
  if (!found.isFile()) throw new RangeError(`${path}: it is a directory or a device, expected a file`)
  const handle = await open(path, "r")
  const { size } = found
  return {
    byteLength: size,
    async slice(start, end) {
      expectRange(path, start, end, size)
      const bytes = new Uint8Array(end - start)
      for (let at = 0; at < bytes.byteLength; ) {
        const length = Math.min(READ_BYTES, bytes.byteLength - at)
        const { bytesRead } = await handle.read(bytes, at, length, start + at)
        if (bytesRead === 0) throw new RangeError(`${path}: file ends at ${start + at}, expected ${size} bytes`)
        at += bytesRead
      }
      return bytes.buffer
    },
    async close() {
      await handle.close()
    },
  }
}

/**
 * A folder on disk. Names that leave it are refused; symbolic links are followed, as the Hugging Face cache is made of them.
 * A file is opened once, and stays open until `close`.
 */
export function pathFolder(directory: string): Folder {
  const files = new Map<string, Promise<FileSource | undefined>>()
  return {
    name: directory,
    async open(name) {
      expectInside(directory, name)
      const file = files.get(name) ?? fileSource(join(directory, name)).catch(absent)
      files.set(name, file)
      return await file
    },
    async list() {
      return (await readdir(directory).catch(absent)) ?? []
    },
    async close() {
      const opened = await Promise.allSettled(files.values())
      files.clear()
      for (const file of opened) if (file.status === "fulfilled") await file.value?.close()
    },
  }
}

function absent(error: unknown): undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined
  if (code !== "ENOENT" && code !== "ENOTDIR") throw error
}

/** A folder on disk to write into, made when the first file comes. */
export function directoryStore(directory: string): Store {
  const folder = pathFolder(directory)
  return {
    ...folder,
    async write(file, chunks) {
      expectInside(directory, file)
      await mkdir(directory, { recursive: true })
      await clearLeftovers(directory, file)
      await writeFileAtomic(join(directory, file), chunks)
      await folder.close?.() // what was open may have been replaced
    },
  }
}

/** Removes what a process left that was killed while it wrote the file. */
async function clearLeftovers(directory: string, file: string): Promise<void> {
  const folder = join(directory, dirname(file))
  for (const name of await readdir(folder)) {
    if (name.startsWith(`.${basename(file)}.`) && name.endsWith(".tmp")) await rm(join(folder, name), { force: true })
  }
}

/**
 * Writes a file whole or not at all: into a temporary file beside it, flushed to disk, then renamed.
 *
 * @param chunks the bytes in order, such as `writeSafetensors` gives
 */
export async function writeFileAtomic(
  path: string,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
  const handle = await open(temporary, "wx")
  try {
    try {
      for await (const chunk of chunks) await writeAll(handle, chunk)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    const { bytesWritten } = await handle.write(bytes, at, Math.min(READ_BYTES, bytes.byteLength - at))
    at += bytesWritten
  }
}
