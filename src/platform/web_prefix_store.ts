import type { PrefixStore, StoredFile } from "../model/prefix_store.ts"
import { blobSource } from "../model/source.ts"

/** Beside each file an empty one of this ending, written when the file was used: a file's own time cannot be set. */
const USED = ".used"

/**
 * Prefixes in the browser's own file system of the page's origin (OPFS), under a path such as `gemlet/prefixes`. A page that is
 * not served by https, or from localhost, has none.
 */
export function privatePrefixStore(path: string): PrefixStore {
  const folder = async () => {
    let handle = await navigator.storage.getDirectory()
    for (const part of path.split("/").filter(Boolean)) {
      handle = await handle.getDirectoryHandle(part, { create: true })
    }
    return handle
  }
  const remove = async (name: string) => {
    await (await folder()).removeEntry(name).catch(ignoreMissing)
  }
  return {
    name: path,
    async open(name) {
      const handle = await (await folder()).getFileHandle(name).catch(ignoreMissing)
      return handle && blobSource(await handle.getFile(), name)
    },
    async write(name, chunks) {
      const handle = await (await folder()).getFileHandle(name, { create: true })
      const writable = await handle.createWritable() // into a copy, which takes the file's place when it is closed
      try {
        for await (const chunk of chunks) await writable.write(Uint8Array.from(chunk))
        await writable.close()
      } catch (error) {
        await writable.abort().catch(() => {})
        if ((await handle.getFile()).size === 0) await remove(name)
        throw error
      }
    },
    async stored() {
      const files = new Map<string, File>()
      for await (const [name, handle] of (await folder()).entries()) {
        if (handle.kind === "file") files.set(name, await (handle as FileSystemFileHandle).getFile())
      }
      return [...files]
        .filter(([name]) => !name.endsWith(USED))
        .map(([name, { size, lastModified }]): StoredFile => {
          const used = files.get(name + USED)?.lastModified ?? 0
          return { name, byteLength: size, usedAt: Math.max(lastModified, used) }
        })
    },
    async touch(name) {
      const handle = await (await folder()).getFileHandle(name + USED, { create: true })
      await (await handle.createWritable()).close()
    },
    async remove(name) {
      await remove(name)
      await remove(name + USED)
    },
  }
}

function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error
}
