import type { PrefixStore, StoredFile } from "../model/prefix_store.ts"
import { ignoreMissing, privateFolder, privateStore } from "./web_files.ts"

/** Beside each file an empty one of this ending, written when the file was used: a file's own time cannot be set. */
const USED = ".used"

/** Prefixes in the origin's private file system, under a path such as `gemlet/prefixes`. */
export function privatePrefixStore(path: string): PrefixStore {
  const folder = () => privateFolder(path)
  const remove = async (name: string) => {
    await (await folder()).removeEntry(name).catch(ignoreMissing)
  }
  return {
    ...privateStore(path),
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
