import { createApi } from "./load.ts"
import { webPlatform } from "./platform/web.ts"

export * from "./api.ts"
export { handleStore, privateStore } from "./platform/web_files.ts"
export type {
  ModelDownloadOptions,
  ModelImportOptions,
  ModelStoreOptions,
  StoreOptions,
} from "./platform/web_model_options.ts"
export { type ModelStore, modelStore } from "./platform/web_models.ts"
export type { OriginStorage, StoredModel } from "./platform/web_stored_model.ts"

/**
 * Loads a model: a URL of a checkpoint folder, a Hub id, files that a user picked, or without a location the small
 * storyteller that comes with the package.
 */
export const { load, open, merge, pack, quantize } = createApi(webPlatform)
