import { mkdir, open, readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { type EvalFolder, inUse } from "../eval/folder.ts"
import { withLock } from "../hub/lock.ts"
import { writeFileAtomic } from "./node_files.ts"

/** Milliseconds without a sign of life after which a holder on another machine counts as gone. */
const STALE = 60_000

/** A folder on disk for a run's files, made when it is first written to. */
export function nodeEvalFolder(directory: string): EvalFolder {
  return {
    name: directory,
    list: () => readdir(directory).catch((error) => (isMissing(error) ? [] : Promise.reject(error))),
    read: (file) =>
      readFile(join(directory, file), "utf8").catch((error) => (isMissing(error) ? undefined : Promise.reject(error))),
    async write(file, text) {
      await mkdir(directory, { recursive: true })
      await writeFileAtomic(join(directory, file), [new TextEncoder().encode(text)])
    },
    async append(file, text) {
      await mkdir(directory, { recursive: true })
      const handle = await open(join(directory, file), "a")
      try {
        await handle.writeFile(text)
        await handle.datasync()
      } finally {
        await handle.close()
      }
    },
    async hold(file) {
      let release = () => {}
      const ended = new Promise<void>((resolve) => {
        release = resolve
      })
      const onWait = () => Promise.reject(inUse(directory, file, "another process"))
      return new Promise((resolve, reject) => {
        const holding = withLock(join(directory, `.${file}.lock`), { stale: STALE, onWait }, async () => {
          resolve(async () => {
            release()
            await holding
          })
          await ended
        })
        holding.catch(reject)
      })
    },
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT"
}
