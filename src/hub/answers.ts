import { HubError } from "./errors.ts"
import type { HashAlgorithm } from "./hash.ts"
import { isCommit } from "./model_id.ts"

/** A file as the Hub lists it. */
export interface RemoteFile {
  path: string
  size: number
  /** Its name among the blobs, and what its bytes must hash to. */
  etag: string
  /** sha256 of the bytes for large files (LFS), git's sha1 of a blob for the others. */
  algorithm: HashAlgorithm
}

/** The names at the top of a repository, from what the Hub tells about it. */
export function fileNames(info: unknown): string[] {
  const siblings = (info as { siblings?: unknown } | null)?.siblings
  if (!Array.isArray(siblings)) return []
  const names: unknown[] = siblings.map((file) => (file as { rfilename?: unknown } | null)?.rfilename)
  return names.filter((name): name is string => typeof name === "string" && !name.includes("/"))
}

/** The commit that a revision stands for, from what the Hub tells about a repository. @throws HubError */
export function commitOf(info: unknown, asked: { id: string; revision: string; endpoint: string }): string {
  const sha = (info as { sha?: unknown } | null)?.sha
  if (typeof sha === "string" && isCommit(sha)) return sha
  const what = `commit of ${asked.revision} is ${JSON.stringify(sha)}, expected 40 hex digits`
  throw new HubError("server", `${asked.id}: ${what} (is ${asked.endpoint} a Hub?)`)
}

interface Entry {
  type?: unknown
  path?: unknown
  size?: unknown
  /** Git's hash of what lies in the repository: of a large file that is a note with the hash of its bytes. */
  oid?: unknown
  lfs?: { oid?: unknown; size?: unknown }
}

/** The files of a folder, from the Hub's list of it. @throws HubError for a file without a size or a hash */
export function filesOf(list: unknown, id: string): RemoteFile[] {
  if (!Array.isArray(list)) throw new HubError("server", `${id}: answer is no list, expected the repository's files`)
  return (list as (Entry | null)[]).filter((entry) => entry?.type === "file").map((entry) => fileOf(entry!, id))
}

function fileOf({ path, lfs, ...plain }: Entry, id: string): RemoteFile {
  const { oid, size } = lfs ?? plain
  if (typeof path !== "string") throw new HubError("server", `${id}: path is ${JSON.stringify(path)}, expected a name`)
  if (typeof oid !== "string" || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(oid)) {
    throw new HubError("server", `${path}: etag is ${JSON.stringify(oid)}, expected a sha256 or a git sha1`)
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw new HubError("server", `${path}: size is ${JSON.stringify(size)}, expected a number of bytes`)
  }
  return { path, size, etag: oid, algorithm: lfs ? "sha256" : "git-sha1" }
}

/** Where a list goes on, by its `Link` header. */
export function nextPage(response: Response): string | undefined {
  return /<(https?:\/\/[^>]+)>;\s*rel="next"/.exec(response.headers.get("link") ?? "")?.[1]
}
