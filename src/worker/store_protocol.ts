import type { DownloadProgress } from "../api.ts"
import type {
  ModelDownloadOptions,
  ModelImportOptions,
  ModelStore,
  ModelStoreOptions,
  StoredModel,
  StoreOptions,
} from "../browser.ts"
import type { Method } from "./messages.ts"
import type { WireFile, WireFolderLocation } from "./protocol.ts"

/** Which store of models: it keeps nothing but what lies there, so that each call can name it anew. */
export type WireModelStore = Omit<ModelStoreOptions, "fetch">

/** What of a store of models goes across as it is. */
export type ModelStoreMethod = Exclude<keyof ModelStore, "download" | "import" | "open" | "files">

/** How far a download or an import is, or that another tab is at it. */
export type StoreEvent = { readonly progress: DownloadProgress } | { readonly waits: true }

/** What goes across of options: all but what listens. */
export type PlainStoreOptions<Options extends StoreOptions> = Omit<Options, keyof StoreOptions>

/** What the page asks of the engine about models that the browser keeps. */
export type StoreMethods = {
  downloadModel: Method<
    { readonly store: WireModelStore; readonly id: string; readonly options: PlainStoreOptions<ModelDownloadOptions> },
    StoredModel,
    StoreEvent
  >
  importModel: Method<
    {
      readonly store: WireModelStore
      readonly from: WireFolderLocation
      readonly options: PlainStoreOptions<ModelImportOptions>
    },
    StoredModel,
    StoreEvent
  >
  modelFiles: Method<{ readonly store: WireModelStore; readonly id: string }, readonly WireFile[]>
  askModelStore: Method<
    { readonly store: WireModelStore; readonly method: ModelStoreMethod; readonly args: readonly unknown[] },
    unknown
  >
}
