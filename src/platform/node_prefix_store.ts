import { existsSync, statSync } from "node:fs"
import { readdir, rm, stat, utimes } from "node:fs/promises"
import { join } from "node:path"
import type { PrefixStore, StoredFile } from "../model/prefix_store.ts"
import { expectInside } from "../model/source.ts"
import { directoryStore } from "./node_files.ts"

/** A file that is still being written is younger than this. */
const ABANDONED_MS = 60 * 60 * 1000

/**
 * Prefixes in a folder on disk, made when the first is saved. When a file was used last is when it was modified.
 *
 * @throws {RangeError} where the path is a file's
 */
export function directoryPrefixStore(directory: string): PrefixStore {
  if (existsSync(directory) && !statSync(directory).isDirectory()) {
    throw new RangeError(`${directory}: is a file, expected a folder for prefixes`)
  }
  const store = directoryStore(directory)
  return {
    ...store,
    async write(file, chunks) {
      await clearAbandoned(directory)
      await store.write(file, chunks)
    },
    async stored() {
      const files = (await names(directory)).filter((name) => !name.startsWith("."))
      return (await Promise.all(files.map((name) => describe(directory, name)))).filter((file) => file !== undefined)
    },
    async touch(file) {
      expectInside(directory, file)
      const now = new Date()
      await utimes(join(directory, file), now, now)
    },
    async remove(file) {
      expectInside(directory, file)
      await store.close?.()
      await rm(join(directory, file), { force: true })
    },
  }
}

/** Removes what processes left that were killed while they wrote. */
async function clearAbandoned(directory: string): Promise<void> {
  for (const name of await names(directory)) {
    if (!/^\..*\.safetensors\..*\.tmp$/.test(name)) continue
    const file = await describe(directory, name)
    if (file && Date.now() - file.usedAt > ABANDONED_MS) await rm(join(directory, name), { force: true })
  }
}

async function names(directory: string): Promise<string[]> {
  return existsSync(directory) ? readdir(directory) : []
}

/** Undefined for what is no file, or was removed meanwhile. */
async function describe(directory: string, name: string): Promise<StoredFile | undefined> {
  const found = await stat(join(directory, name)).catch(() => undefined)
  return found?.isFile() ? { name, byteLength: found.size, usedAt: found.mtimeMs } : undefined
}
