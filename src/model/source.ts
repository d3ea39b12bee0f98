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
  /** Releases file handles. */
  close?(): Promise<void>
}
