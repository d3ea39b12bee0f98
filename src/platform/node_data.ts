import { readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import type { Source } from "../model/source.ts"
import { fileSource } from "./node_files.ts"

/** A file of a user's data under the path that leads to it. */
export interface DataFile {
  readonly name: string
  readonly source: Source
}

/** What a folder of data says about itself. */
const ABOUT = /^(readme|licen[cs]e)\b/i

/**
 * The files behind paths of files and folders, in the order given; those of a folder by name, with its sub-folders. Of a
 * folder only what `accepts` takes is used, without hidden files and without its README and LICENSE. No file stays open,
 * so that there may be any number.
 */
export async function dataFiles(paths: readonly string[], accepts: (name: string) => boolean): Promise<DataFile[]> {
  const files: DataFile[] = []
  for (const path of paths) {
    const found = (await isFolder(path)) ? await filesBelow(path, accepts) : [path]
    if (found.length === 0) throw new RangeError(`${path}: folder has no file of data, expected at least one`)
    for (const name of found) files.push({ name, source: await closedSource(name) })
  }
  return files
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error
    throw new RangeError(`${path}: file is missing, expected a file or a folder`, { cause: error })
  }
}

async function filesBelow(folder: string, accepts: (name: string) => boolean): Promise<string[]> {
  const entries = await readdir(folder)
  const files: string[] = []
  for (const entry of entries.sort()) {
    const path = join(folder, entry)
    if (entry.startsWith(".") || ABOUT.test(entry)) continue
    if (await isFolder(path)) files.push(...(await filesBelow(path, accepts)))
    else if (accepts(entry)) files.push(path)
  }
  return files
}

/** A file that is open only while it is read. */
export async function closedSource(path: string): Promise<Source> {
  const use = async <T>(act: (source: Source) => T | Promise<T>): Promise<T> => {
    const file = await fileSource(path)
    try {
      return await act(file)
    } finally {
      await file.close()
    }
  }
  const byteLength = await use((file) => file.byteLength)
  return {
    byteLength,
    slice: (start, end) =>
      use((file) => {
        if (file.byteLength === byteLength) return file.slice(start, end)
        throw new RangeError(
          `${path}: file is ${file.byteLength} bytes, expected ${byteLength} as before (did it change?)`,
        )
      }),
  }
}
