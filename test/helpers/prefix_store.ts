import { memoryStore, type PrefixStore } from "../../src/index.ts"

/** Prefixes in memory, used in the order of a clock that only they move. */
export interface MemoryPrefixes extends PrefixStore {
  readonly files: Map<string, Uint8Array>
}

export function memoryPrefixes(): MemoryPrefixes {
  const store = memoryStore("prefixes")
  const files = store.files as Map<string, Uint8Array>
  const used = new Map<string, number>()
  let clock = 0
  const touch = async (name: string) => {
    used.set(name, ++clock)
  }
  return {
    ...store,
    files,
    touch,
    async write(name, chunks) {
      await store.write(name, chunks)
      await touch(name)
    },
    stored: async () => [...files].map(([name, { byteLength }]) => ({ name, byteLength, usedAt: used.get(name) ?? 0 })),
    async remove(name) {
      files.delete(name)
    },
  }
}
