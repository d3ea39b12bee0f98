import type { RemoteFile } from "../hub/client.ts"
import { HubError } from "../hub/errors.ts"
import { formatBytes } from "../hub/progress.ts"
import type { ModelFolder } from "./web_model_folder.ts"

/** A model in the store, or as much of one as has arrived. */
export interface StoredModel {
  readonly id: string
  /** What was asked for; undefined for an import. */
  readonly revision: string | undefined
  readonly commit: string | undefined
  readonly files: readonly { readonly path: string; readonly size: number }[]
  /** Of all files, in bytes. */
  readonly bytes: number
  /** Of these, what is here. */
  readonly loaded: number
  /** Every file is here and its hash was right. */
  readonly complete: boolean
  /** What it takes in the store, bytes of an update underway or of an earlier version included. */
  readonly storedBytes: number
  /** When it was last opened or brought, in ms since 1970; undefined while a first download is underway. */
  readonly usedAt: number | undefined
}

/** What the browser gives this origin, in bytes. Browsers round and blur the first two. */
export interface OriginStorage {
  readonly quota: number | undefined
  /** By everything of the origin. */
  readonly usage: number | undefined
  /** By the store's models. */
  readonly models: number
  /** Whether the browser will not clear it by itself when the disk gets full. */
  readonly persisted: boolean
}

/** What the store tells of a model. */
export async function describe(id: string, folder: ModelFolder): Promise<StoredModel> {
  const current = await folder.current()
  const manifest = current ?? (await folder.begun())
  const files = manifest?.files ?? []
  return {
    id,
    revision: manifest?.revision,
    commit: manifest?.commit,
    files: files.map(({ path, size }) => ({ path, size })),
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    loaded: await folder.loadedBytes(files),
    complete: current !== undefined,
    storedBytes: await folder.storedBytes(),
    usedAt: await folder.usedAt(),
  }
}

/** @throws HubError before anything large is asked for. Where the browser cannot tell, writing will. */
export async function expectSpace(
  id: string,
  folder: ModelFolder | undefined,
  files: readonly RemoteFile[],
): Promise<void> {
  const estimate = await navigator.storage?.estimate?.().catch(() => undefined)
  if (estimate?.quota === undefined) return
  const missing = files.reduce((sum, { size }) => sum + size, 0) - ((await folder?.loadedBytes(files)) ?? 0)
  const free = Math.max(0, estimate.quota - (estimate.usage ?? 0))
  if (missing <= free) return
  const what = `${formatBytes(missing)} are to come, the browser has room for ${formatBytes(free)}`
  throw new HubError("space", `${id}: ${what}, ${formatBytes(missing - free)} short; remove a model or free some disk`)
}
