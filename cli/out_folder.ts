import { constants } from "node:fs"
import { access, readdir, realpath, stat } from "node:fs/promises"
import { dirname, resolve } from "node:path"

/** What may be done to a folder that has something in it already. */
export interface OutRules {
  readonly force?: boolean
  /** Folders that are read: they are never written into. */
  readonly read: readonly (string | undefined)[]
  /** What a user can do about a folder in use: `--force writes into it`. */
  readonly otherwise: string
}

/**
 * Makes sure that a command's results will find their place, before it begins on them.
 *
 * @throws {RangeError} when the folder is read from, in use or cannot be written
 */
export async function expectOutFolder(out: string, { force, read, otherwise }: OutRules): Promise<void> {
  const own = await realPath(out)
  for (const other of read) {
    if (other === undefined || own === undefined || (await realPath(other)) !== own) continue
    throw new RangeError(`--out: ${out} is read from, expected another folder than ${other}`)
  }
  await expectWritable(out)
  if (force || own === undefined || (await readdir(out)).length === 0) return
  throw new RangeError(`--out: ${out} is in use, expected a new or empty folder (${otherwise})`)
}

/** Where a path leads to, undefined where there is nothing. */
async function realPath(path: string): Promise<string | undefined> {
  try {
    return await realpath(path)
  } catch {
    return undefined
  }
}

/** Looks at the folder, or at the nearest one above it that is there. Nothing is made. */
async function expectWritable(out: string): Promise<void> {
  for (let at = resolve(out); ; at = dirname(at)) {
    try {
      const isFolder = (await stat(at)).isDirectory()
      if (!isFolder) throw new RangeError(`--out: ${at} is a file, expected a folder`)
      await access(at, constants.W_OK)
      return
    } catch (error) {
      if (error instanceof RangeError) throw error
      const { code, message } = error as NodeJS.ErrnoException
      if ((code === "ENOENT" || code === "ENOTDIR") && at !== dirname(at)) continue
      throw new RangeError(`--out: ${at} cannot be written (${message})`, { cause: error })
    }
  }
}
