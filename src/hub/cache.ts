import { randomUUID } from "node:crypto"
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises"
import { dirname, join, relative } from "node:path"
import { getRepoFolderName } from "@huggingface/hub"
import { isGguf } from "../model/gguf/find.ts"
import { INDEX, SINGLE, shardNames } from "./files.ts"
import { isCommit } from "./model_id.ts"

/**
 * One model in the cache that all Hugging Face tools share:
 * ```
 * models--owner--name/
 *   blobs/<etag>                       the bytes
 *   snapshots/<commit>/<file>          links to ../../blobs/<etag>
 *   refs/<branch>                      the commit
 * .locks/models--owner--name/
 * ```
 */
export class ModelCache {
  readonly root: string
  readonly #locks: string

  constructor(cacheDir: string, id: string) {
    const name = getRepoFolderName({ type: "model", name: id })
    this.root = join(cacheDir, name)
    this.#locks = join(cacheDir, ".locks", name)
  }

  blob(etag: string): string {
    return join(this.root, "blobs", etag)
  }

  /** Ours alone: Python locks `<etag>.lock` by other means. */
  lock(etag: string): string {
    return join(this.#locks, `${etag}.gemlet.lock`)
  }

  snapshot(commit: string): string {
    return join(this.root, "snapshots", commit)
  }

  /** The commit that a branch or tag stood for when it was last asked. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision
    const commit = await readFile(join(this.root, "refs", revision), "utf8").catch(() => "")
    return isCommit(commit.trim()) ? commit.trim() : undefined
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if ((await this.commitOf(revision)) === commit) return
    await replace(join(this.root, "refs", revision), (path) => writeFile(path, commit))
  }

  /** Whether a snapshot has all of the named files, and the shards of its index if that is one of them. */
  async has(commit: string, names: string[]): Promise<boolean> {
    const folder = this.snapshot(commit)
    for (const name of names) {
      if (!(await isFile(join(folder, name)))) return false
    }
    if (!names.includes(INDEX)) return true
    try {
      return await this.has(commit, shardNames(await readFile(join(folder, INDEX), "utf8")))
    } catch {
      return false
    }
  }

  /**
   * Whether a snapshot can be run as it is. What the repository has besides cannot be known from here.
   *
   * @param file the GGUF that is to be run
   */
  async isRunnable(commit: string, file?: string): Promise<boolean> {
    if (file !== undefined) return this.has(commit, [file])
    for (const weights of [SINGLE, INDEX]) if (await this.has(commit, ["config.json", weights])) return true
    return this.hasGguf(commit)
  }

  /** Whether a snapshot has a GGUF, which needs nothing beside it. */
  async hasGguf(commit: string): Promise<boolean> {
    const names = await readdir(this.snapshot(commit)).catch(() => [])
    return names.some(isGguf)
  }

  /** Gives a blob its name in a snapshot: a relative link, or a copy where links are refused. */
  async place(commit: string, name: string, etag: string): Promise<void> {
    const file = join(this.snapshot(commit), name)
    const blob = this.blob(etag)
    await replace(file, async (path) => {
      try {
        await symlink(relative(dirname(file), blob), path)
      } catch {
        await copyFile(blob, path)
      }
    })
  }
}

/** The size of a file, links followed, or undefined when there is none. */
export async function sizeOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined)
  return found?.isFile() ? found.size : undefined
}

async function isFile(path: string): Promise<boolean> {
  return (await sizeOf(path)) !== undefined
}

/** Makes a file under a name of its own and renames it, so that no one sees half of it. */
async function replace(path: string, make: (path: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${randomUUID()}`
  await mkdir(dirname(path), { recursive: true })
  try {
    await make(temporary)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}
