/** Random access to bytes: a file, a Blob, a URL with range requests, memory, or a test double. */
export interface Source {
  readonly byteLength: number
  /** Bytes `[start, end)`. Rejects with a RangeError when the range leaves the source. */
  slice(start: number, end: number): Promise<ArrayBuffer>
}

/** A checkpoint folder, wherever it lives. */
export interface Folder {
  /** What errors call it: a path, a hub id, a URL. */
  readonly name: string
  /** Opens a file by its name relative to the folder, or gives undefined when there is none. */
  open(name: string): Promise<Source | undefined>
  /** The names of the files at its top, where that can be known. */
  list?(): Promise<readonly string[]>
  /** The GGUF file in it that was asked for: weights, config and tokenizer in one. */
  readonly file?: string | undefined
  /** Releases file handles. */
  close?(): Promise<void>
}

/** JSON and text files are read whole, so they have a limit; a weight file never is. Gemma 3's tokenizer.json is 33 MB. */
const TEXT_LIMIT = 64 * 2 ** 20

/** Throws a RangeError unless `0 <= start <= end <= byteLength`. */
export function expectRange(name: string, start: number, end: number, byteLength: number): void {
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && 0 <= start && start <= end && end <= byteLength)
    return
  throw new RangeError(`${name}: range is [${start}, ${end}), expected one inside [0, ${byteLength})`)
}

/** Whether a file name stays inside its folder: relative, forward slashes, no `..`, no drive or scheme. */
export function staysInside(name: string): boolean {
  if (/[\\:\0]/.test(name)) return false
  return name.split("/").every((part) => part !== "" && part !== "." && part !== "..")
}

/** Throws a RangeError unless the name stays inside the folder. */
export function expectInside(folder: string, name: string): void {
  if (!staysInside(name)) {
    throw new RangeError(`${folder}: file name is ${JSON.stringify(name)}, expected a name inside the folder`)
  }
}

/** A path, a URL, a Hub id (`owner/name`), files that a user picked, or a folder of one's own making. */
export type ModelLocation = string | URL | Folder | Iterable<File>

/** A source over bytes in memory. */
export function memorySource(bytes: Uint8Array, name = "memory"): Source {
  return {
    byteLength: bytes.byteLength,
    async slice(start, end) {
      expectRange(name, start, end, bytes.byteLength)
      const copy = new Uint8Array(end - start) // slice() of a Node Buffer would not copy
      copy.set(bytes.subarray(start, end))
      return copy.buffer
    },
  }
}

/** A source over a Blob or File, read piece by piece. */
export function blobSource(blob: Blob, name = "blob"): Source {
  return {
    byteLength: blob.size,
    async slice(start, end) {
      expectRange(name, start, end, blob.size)
      return await blob.slice(start, end).arrayBuffer()
    },
  }
}

/** A folder of files in memory. */
export function memoryFolder(name: string, files: ReadonlyMap<string, Uint8Array>): Folder {
  return {
    name,
    async open(file) {
      expectInside(name, file)
      const bytes = files.get(file)
      return bytes && memorySource(bytes, file)
    },
    list: async () => [...files.keys()],
  }
}

/** A folder picked or dropped in a browser. A leading directory that all files share is stripped and names the folder. */
export function filesFolder(files: Iterable<File>): Folder {
  const paths = [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }))
  const root = paths[0]?.path.split("/")[0] ?? ""
  const shared = paths.length > 0 && paths.every(({ path }) => path.startsWith(`${root}/`))
  const byName = new Map(paths.map(({ path, file }) => [shared ? path.slice(root.length + 1) : path, file]))
  const name = shared ? root : "files"
  return {
    name,
    async open(file) {
      expectInside(name, file)
      const found = byName.get(file)
      return found && blobSource(found, file)
    },
    list: async () => [...byName.keys()],
  }
}

/**
 * A file as text, or undefined when the folder has none.
 *
 * @throws SyntaxError when it is not UTF-8, RangeError when it is over 64 MiB
 */
export async function readText(folder: Folder, name: string): Promise<string | undefined> {
  const source = await folder.open(name)
  if (!source) return undefined
  if (source.byteLength > TEXT_LIMIT) {
    throw new RangeError(`${name}: length is ${source.byteLength} bytes, expected at most ${TEXT_LIMIT}`)
  }
  const bytes = await source.slice(0, source.byteLength)
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw new SyntaxError(`${name}: text is in another encoding, expected UTF-8`)
  }
}

/** A file as JSON, or undefined when the folder has none. Errors as {@link readText}; malformed JSON is a SyntaxError. */
export async function readJson(folder: Folder, name: string): Promise<unknown> {
  const text = await readText(folder, name)
  return text === undefined ? undefined : parseJson(text, name)
}

/** `JSON.parse` with the file's name in the error. */
export function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/\s+/g, " ") : "unreadable"
    throw new SyntaxError(`${name}: text is malformed, expected JSON (${why})`)
  }
}

export { type UrlOptions, urlFolder, urlSource } from "./url_source.ts"
