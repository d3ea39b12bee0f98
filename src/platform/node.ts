import { existsSync, statSync } from "node:fs"
import { basename, dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { cachedModel, downloadModel } from "../hub/download.ts"
import { environmentEndpoint, environmentToken } from "../hub/environment.ts"
import { hubFolder } from "../hub/hub_folder.ts"
import { hubLocation } from "../hub/model_id.ts"
import { isGguf } from "../model/gguf/find.ts"
import { type Folder, urlFolder } from "../model/source.ts"
import { findNodeAdapter } from "./node_adapter.ts"
import { pathFolder } from "./node_files.ts"
import { directoryPrefixStore as openPrefixStore } from "./node_prefix_store.ts"
import type { OpenOptions, Platform } from "./platform.ts"

/** Node and Deno: folders on the disk, the Hub's cache, hardware or software adapters. */
export const nodePlatform: Platform = { findAdapter: findNodeAdapter, openFolder, openPrefixStore }

async function openFolder(
  location: string | undefined,
  { revision, token, onDownload, signal, headersOnly }: OpenOptions,
): Promise<Folder> {
  if (location === undefined) return { ...pathFolder(packaged("storyteller")), name: "storyteller" }
  if (/^https?:\/\//.test(location)) return urlFolder(location)
  const path = location.startsWith("file:") ? fileURLToPath(location) : location
  if (existsSync(path)) {
    if (statSync(path).isDirectory()) return pathFolder(path)
    if (isGguf(path)) return { ...pathFolder(dirname(path)), file: basename(path) }
    throw new RangeError(`${path}: is a file, expected a checkpoint folder or a GGUF file`)
  }
  const hub = hubLocation(path)
  if (!hub) {
    throw new RangeError(`${path}: no such folder, expected a checkpoint folder, a URL or a Hub id such as owner/name`)
  }
  const { id, file } = hub
  if (headersOnly) {
    const cached = await cachedModel(id, { revision, file })
    if (cached) return { ...pathFolder(cached), file }
    const endpoint = environmentEndpoint()
    return hubFolder(id, { revision, file, endpoint, token: token ?? (await environmentToken()) })
  }
  return { ...pathFolder(await downloadModel(id, { revision, file, token, onProgress: onDownload, signal })), file }
}

/** A folder that comes with the package: beside src/ in the repository, beside dist/ in the package. */
export function packaged(name: string): string {
  const places = [`../../weights/${name}`, `../../../weights/${name}`]
  const paths = places.map((place) => fileURLToPath(new URL(place, import.meta.url)))
  return paths.find((path) => existsSync(path)) ?? paths[1]!
}
