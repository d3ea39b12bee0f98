import { createApi } from "./load.ts"
import { webPlatform } from "./platform/web.ts"

export * from "./api.ts"
export { handleStore, privateStore } from "./platform/web_files.ts"

/**
 * Loads a model: a URL of a checkpoint folder, a Hub id, files that a user picked, or without a location the small
 * storyteller that comes with the package.
 */
export const { load, open, merge, pack, quantize } = createApi(webPlatform)
