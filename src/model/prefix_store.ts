import type { Store } from "./store.ts"

/** A file of a store. */
export interface StoredFile {
  readonly name: string
  readonly byteLength: number
  /** When it was last written or used, in milliseconds since 1970. */
  readonly usedAt: number
}

/** A store that prefixes are kept in, and given up where they take too much. */
export interface PrefixStore extends Store {
  /** What it has, in any order. */
  stored(): Promise<readonly StoredFile[]>
  /** Notes that a file was of use. */
  touch(file: string): Promise<void>
  /** Removes a file; nothing happens where there is none. */
  remove(file: string): Promise<void>
}

/**
 * Removes files, those first that were not used for longest, until the rest and `byteLength` more are within a limit.
 *
 * @param names which of the store's files may go
 */
export async function makeRoom(store: PrefixStore, byteLength: number, limit: number, names: RegExp): Promise<void> {
  const files = (await store.stored()).filter(({ name }) => names.test(name)).sort((a, b) => a.usedAt - b.usedAt)
  let total = files.reduce((sum, file) => sum + file.byteLength, byteLength)
  for (const file of files) {
    if (total <= limit) return
    await store.remove(file.name)
    total -= file.byteLength
  }
}
