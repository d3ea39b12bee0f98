import { mkdir, readFile, rename, rm, statfs } from "node:fs/promises"
import { join } from "node:path"
import { ModelCache, sizeOf } from "./cache.ts"
import { HubClient, type RemoteFile } from "./client.ts"
import { environmentCache, environmentEndpoint, environmentOffline, environmentToken } from "./environment.ts"
import { HubError } from "./errors.ts"
import { chooseFiles } from "./files.ts"
import { withLock } from "./lock.ts"
import { checkEndpoint, checkModelId, checkRevision, DEFAULT_REVISION, isCommit } from "./model_id.ts"
import { NodePartial, startNodeHash } from "./node_partial.ts"
import { planFiles } from "./plan.ts"
import { type DownloadProgress, formatBytes, ProgressMeter } from "./progress.ts"
import { PATIENCE, type Patience } from "./retry.ts"
import { type Origin, transfer } from "./transfer.ts"

export interface DownloadOptions {
  /** Branch, tag or commit; `main` by default. */
  revision?: string
  /** The GGUF file to take; by default safetensors, or the only GGUF. */
  file?: string | undefined
  /** By default HF_TOKEN, or what `hf auth login` stored. */
  token?: string
  /** By default HF_ENDPOINT, or https://huggingface.co. */
  endpoint?: string
  /** By default the cache that all Hugging Face tools share. */
  cacheDir?: string
  onProgress?: (progress: DownloadProgress) => void
  /** Stops the download; what has arrived stays for the next run. */
  signal?: AbortSignal
  fetch?: typeof fetch
  /** How long to wait and how often to retry. */
  patience?: Partial<Patience>
}

/**
 * Brings a model's files into the Hugging Face cache, or finds them there.
 *
 * A model that is there already costs one small request (none for a full commit hash), and none has to succeed:
 * without the network a cached snapshot is used as it is. Broken downloads continue where they stopped, in this run or
 * the next. Every file is checked against its hash before it gets its name.
 *
 * @param id `owner/name`, as on the Hub
 * @returns  the path of the snapshot folder
 * @throws   RangeError for a bad id, {@link HubError} with what to do for the rest
 */
export async function downloadModel(id: string, options: DownloadOptions = {}): Promise<string> {
  const revision = checkRevision(options.revision ?? DEFAULT_REVISION)
  const cacheDir = options.cacheDir ?? environmentCache()
  const cache = new ModelCache(cacheDir, checkModelId(id))
  const endpoint = options.endpoint === undefined ? environmentEndpoint() : checkEndpoint(options.endpoint)
  options.signal?.throwIfAborted()

  const known = await cache.commitOf(revision)
  const cached = known !== undefined && (await cache.isRunnable(known, options.file)) ? known : undefined
  if (cached !== undefined && isCommit(revision)) {
    const whole = (await cache.has(cached, ["tokenizer.json"])) || (await cache.hasGguf(cached))
    if (whole) return cache.snapshot(cached)
  }
  if (environmentOffline()) {
    if (cached !== undefined) return cache.snapshot(cached)
    throw new HubError("network", `${id}: not complete in ${cacheDir}, and HF_HUB_OFFLINE forbids to download it`)
  }

  const client = new HubClient({
    id,
    revision,
    endpoint,
    token: options.token ?? (await environmentToken()),
    signal: options.signal,
    fetch: options.fetch,
    patience: { ...PATIENCE, ...options.patience },
  })
  for (let again = false; ; again = true) {
    try {
      return await update(client, cache, cached, options)
    } catch (error) {
      if (again || !(error instanceof HubError) || error.code !== "changed") throw error
    }
  }
}

/** The snapshot of a model that is in the cache already, as it was when it was downloaded; asks nobody. */
export async function cachedModel(
  id: string,
  { revision, file, cacheDir }: Pick<DownloadOptions, "revision" | "file" | "cacheDir"> = {},
): Promise<string | undefined> {
  const cache = new ModelCache(cacheDir ?? environmentCache(), checkModelId(id))
  const commit = await cache.commitOf(checkRevision(revision ?? DEFAULT_REVISION))
  return commit !== undefined && (await cache.isRunnable(commit, file)) ? cache.snapshot(commit) : undefined
}

/** Asks what the revision is now, and brings what is missing of it. */
async function update(
  client: HubClient,
  cache: ModelCache,
  cached: string | undefined,
  options: DownloadOptions,
): Promise<string> {
  let commit: string
  let names: string[] | undefined
  try {
    ;({ commit, files: names } = await client.resolve(cached !== undefined))
  } catch (error) {
    client.signal?.throwIfAborted()
    if (cached === undefined) throw error
    return cache.snapshot(cached) // offline, or no longer allowed: the files are here
  }
  if (names === undefined || !(await cache.has(commit, chooseFiles(client.id, names, options.file)))) {
    await fetchSnapshot(client, cache, commit, options)
  }
  await cache.setCommit(client.revision, commit)
  return cache.snapshot(commit)
}

async function fetchSnapshot(
  client: HubClient,
  cache: ModelCache,
  commit: string,
  { file: gguf, onProgress }: DownloadOptions,
): Promise<void> {
  const files = await planFiles(client, commit, gguf, async (index) => {
    await fetchFile(client, cache, commit, index, new ProgressMeter(index.size))
    return readFile(join(cache.snapshot(commit), index.path), "utf8")
  })
  await expectSpace(client.id, cache, commit, files)
  const total = files.reduce((sum, file) => sum + file.size, 0)
  const progress = new ProgressMeter(total, onProgress)
  for (const file of files) await fetchFile(client, cache, commit, file, progress)
}

/** One file, from the first missing byte to its name in the snapshot. */
async function fetchFile(
  client: HubClient,
  cache: ModelCache,
  commit: string,
  file: RemoteFile,
  progress: ProgressMeter,
): Promise<void> {
  const blob = cache.blob(file.etag)
  const inPlace = async () => (await sizeOf(join(cache.snapshot(commit), file.path))) === file.size
  const arrived = async () => (await sizeOf(blob)) === file.size
  if (!(await inPlace())) {
    if (!(await arrived())) {
      const onWait = async () => progress.place(file.path, (await sizeOf(`${blob}.incomplete`)) ?? 0)
      const { signal, patience } = client
      await mkdir(join(blob, ".."), { recursive: true })
      await withLock(cache.lock(file.etag), { stale: patience.staleLock, signal, onWait }, async () => {
        if (!(await arrived())) await fetchBlob(client.at(commit), file, blob, progress)
      })
    }
    await cache.place(commit, file.path, file.etag)
  }
  progress.finish(file.path, file.size)
}

/** Continues what `<blob>.incomplete` holds. It gets its name only when its hash is right. The caller holds the blob's lock. */
async function fetchBlob(origin: Origin, file: RemoteFile, blob: string, progress: ProgressMeter): Promise<void> {
  const path = `${blob}.incomplete`
  try {
    await using partial = await NodePartial.open(path, file)
    await transfer(origin, file, partial, startNodeHash, progress)
  } catch (error) {
    if (error instanceof HubError && error.code === "corrupt") await rm(path, { force: true })
    throw error
  }
  await rename(path, blob)
}

/** @throws HubError before anything large is asked for */
async function expectSpace(id: string, cache: ModelCache, commit: string, files: RemoteFile[]): Promise<void> {
  let missing = 0
  for (const { path, size, etag } of files) {
    const here = [join(cache.snapshot(commit), path), cache.blob(etag)].map(sizeOf)
    if ((await Promise.all(here)).includes(size)) continue
    missing += size - Math.min(size, (await sizeOf(`${cache.blob(etag)}.incomplete`)) ?? 0)
  }
  if (missing === 0) return
  await mkdir(cache.root, { recursive: true })
  const disk = await statfs(cache.root).catch(() => undefined) // not every runtime and disk can tell
  if (disk === undefined) return
  const free = disk.bavail * disk.bsize
  if (free >= missing) return
  const what = `download needs ${formatBytes(missing)}, the disk of ${cache.root} has ${formatBytes(free)} free`
  throw new HubError("space", `${id}: ${what}; free some, or set HF_HOME to another disk`)
}
