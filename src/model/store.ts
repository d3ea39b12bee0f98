import { type Folder, memoryFolder } from "./source.ts"

/** A folder that a run keeps its files in. Each is written whole or not at all. */
export interface Store extends Folder {
  write(file: string, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void>
}

/** A store in memory, whose files can be taken out: where there is no disk, or nothing shall be left on it. */
export interface MemoryStore extends Store {
  readonly files: ReadonlyMap<string, Uint8Array>
}

export function memoryStore(name = "memory"): MemoryStore {
  const files = new Map<string, Uint8Array>()
  return {
    ...memoryFolder(name, files),
    files,
    async write(file, chunks) {
      const parts: Uint8Array<ArrayBuffer>[] = []
      for await (const chunk of chunks) parts.push(Uint8Array.from(chunk))
      files.set(file, new Uint8Array(await new Blob(parts).arrayBuffer()))
    },
  }
}
