import { blobSource, expectInside } from "../model/source.ts"
import type { Store } from "../model/store.ts"

/** A folder that the user has picked, or one of the origin's private file system, as a place to read from and write to. */
export function handleStore(handle: FileSystemDirectoryHandle): Store {
  return storeOf(handle.name, async () => handle)
}

/** A folder of the origin's private file system (OPFS) under a path such as `gemlet/runs`, made when it is first used. */
export function privateStore(path: string): Store {
  return storeOf(path, () => privateFolder(path))
}

/** The folder itself. A page that is not served by https, or from localhost, has none. */
export async function privateFolder(path: string): Promise<FileSystemDirectoryHandle> {
  return inside(await navigator.storage.getDirectory(), path.split("/").filter(Boolean), true)
}

/** What a file system gives where there is nothing of that name; all else is thrown on. */
export function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error
}

function storeOf(name: string, folder: () => Promise<FileSystemDirectoryHandle>): Store {
  /** A file's own folder, and its name there. */
  const place = async (file: string, create: boolean) => {
    expectInside(name, file)
    const parts = file.split("/")
    const last = parts.pop()!
    return { folder: await inside(await folder(), parts, create), last }
  }
  return {
    name,
    async open(file) {
      try {
        const { folder, last } = await place(file, false)
        return blobSource(await (await folder.getFileHandle(last)).getFile(), file)
      } catch (error) {
        return ignoreMissing(error)
      }
    },
    async list() {
      const names: string[] = []
      for await (const [name, { kind }] of (await folder()).entries()) if (kind === "file") names.push(name)
      return names
    },
    async write(file, chunks) {
      const { folder, last } = await place(file, true)
      const handle = await folder.getFileHandle(last, { create: true })
      const writable = await handle.createWritable() // into a copy, which takes the file's place when it is closed
      try {
        for await (const chunk of chunks) await writable.write(Uint8Array.from(chunk))
        await writable.close()
      } catch (error) {
        await writable.abort().catch(() => {})
        if ((await handle.getFile()).size === 0) await folder.removeEntry(last).catch(ignoreMissing)
        throw error
      }
    },
  }
}

async function inside(
  folder: FileSystemDirectoryHandle,
  parts: readonly string[],
  create: boolean,
): Promise<FileSystemDirectoryHandle> {
  let handle = folder
  for (const part of parts) handle = await handle.getDirectoryHandle(part, { create })
  return handle
}
