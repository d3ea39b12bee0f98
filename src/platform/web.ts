import { hubFolder } from "../hub/hub_folder.ts"
import { hubLocation } from "../hub/model_id.ts"
import { type Folder, urlFolder } from "../model/source.ts"
import { findNavigatorAdapter } from "./navigator_adapter.ts"
import type { OpenOptions, Platform } from "./platform.ts"
import { privatePrefixStore as openPrefixStore } from "./web_prefix_store.ts"

/** A browser: folders on web servers, the Hub read by ranges, the browser's own WebGPU. */
export const webPlatform: Platform = { findAdapter: findNavigatorAdapter, openFolder, openPrefixStore }

async function openFolder(location: string | undefined, { revision, token }: OpenOptions): Promise<Folder> {
  // Bundlers recognise this form and take the files along.
  if (location === undefined) return urlFolder(new URL("../../../weights/storyteller", import.meta.url).href)
  const hub = hubLocation(location)
  if (hub) return hubFolder(hub.id, { revision, file: hub.file, token, inBrowser: true })
  return urlFolder(location)
}
