/** Where the files of a run lie: texts that are read whole, written whole, or added to. */
export interface EvalFolder {
  /** What errors call it. */
  readonly name: string
  /** Names of the files in it. */
  list(): Promise<readonly string[]>
  read(file: string): Promise<string | undefined>
  /** Whole or not at all. */
  write(file: string, text: string): Promise<void>
  /** Adds lines, which are on the disk when it is done. */
  append(file: string, text: string): Promise<void>
  /**
   * Keeps others from writing a file, until what it gives is called.
   *
   * @throws {RangeError} when another process does
   */
  hold(file: string): Promise<() => Promise<void>>
}

/** A folder in memory: where there is no disk, or nothing shall be left on it. */
export function memoryEvalFolder(name = "memory"): EvalFolder & { readonly files: Map<string, string> } {
  const files = new Map<string, string>()
  const held = new Set<string>()
  return {
    name,
    files,
    list: async () => [...files.keys()],
    read: async (file) => files.get(file),
    async write(file, text) {
      files.set(file, text)
    },
    async append(file, text) {
      files.set(file, (files.get(file) ?? "") + text)
    },
    async hold(file) {
      if (held.has(file)) throw inUse(name, file, "another run here")
      held.add(file)
      return async () => {
        held.delete(file)
      }
    },
  }
}

export function inUse(folder: string, file: string, holder: string): RangeError {
  return new RangeError(`${folder}: ${file} is being written by ${holder}, expected nobody (give --out another folder)`)
}
