import type { DownloadProgress } from "../hub/progress.ts"
import type { Patience } from "../hub/retry.ts"

export interface ModelStoreOptions {
  /** Where the models lie: a folder of the origin's private file system by its path, `gemlet-models` by default, or one at hand. */
  readonly folder?: string | FileSystemDirectoryHandle
  /** The Hub, https://huggingface.co by default. */
  readonly endpoint?: string
  readonly fetch?: typeof fetch
  /** How long to wait and how often to retry. */
  readonly patience?: Partial<Patience>
  /** Bytes that a download may lose when its tab is closed in the middle; 32 MiB by default. */
  readonly pieceBytes?: number
}

export interface StoreOptions {
  readonly onProgress?: (progress: DownloadProgress) => void
  /** Stops it; what has arrived stays for the next time. */
  readonly signal?: AbortSignal
  /** Called when another tab is at the same model: the call waits until it is done. */
  readonly onWait?: () => void
}

export interface ModelDownloadOptions extends StoreOptions {
  /** Branch, tag or commit; `main` by default. */
  readonly revision?: string
  /** For gated and private models. */
  readonly token?: string
}

export interface ModelImportOptions extends StoreOptions {
  /** What to call it, `owner/name` or a name: what was called so before is replaced. By default a free name like its own. */
  readonly id?: string
  /** Keys of config.json to treat as absent, as for `load`. */
  readonly ignoreKeys?: readonly string[]
}
