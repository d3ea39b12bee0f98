import type { DownloadProgress } from "../hub/progress.ts"
import type { FoundAdapter } from "../kernels/device.ts"
import type { PrefixStore } from "../model/prefix_store.ts"
import type { Folder } from "../model/source.ts"

/**
 * Which adapter to take: `auto` prefers hardware and falls back to software, `gpu` and `software` insist, and the last
 * two name one of the software adapters.
 */
export type DeviceKind = "auto" | "gpu" | "software" | "lavapipe" | "swiftshader"

export const DEVICE_KINDS: readonly DeviceKind[] = ["auto", "gpu", "software", "lavapipe", "swiftshader"]

/** What an environment (Node and Deno, or a browser) does for the session. */
export interface Platform {
  /** @throws {GpuError} `no-adapter`, saying what was tried */
  findAdapter(kind: DeviceKind): Promise<FoundAdapter>
  /** Opens what a user names: a path, a URL or a Hub id; the embedded model without a name. */
  openFolder(location: string | undefined, options: OpenOptions): Promise<Folder>
  /** Where prefixes lie that a user names so: a folder, in browsers one of the origin's private file system. */
  openPrefixStore(location: string): PrefixStore
}

export interface OpenOptions {
  /** Branch, tag or commit of a Hub id. */
  readonly revision?: string
  /** For the Hub. */
  readonly token?: string | undefined
  readonly onDownload?: (progress: DownloadProgress) => void
  readonly signal?: AbortSignal
  /** Only configs and headers will be read: what is not here already need not be downloaded. */
  readonly headersOnly?: boolean
}

/** True for the adapters that compute on the CPU. */
export function isSoftware(info: GPUAdapterInfo): boolean {
  const text = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`
  return info.isFallbackAdapter === true || /llvmpipe|lavapipe|swiftshader|software|warp/i.test(text)
}

export function describe(info: GPUAdapterInfo): string {
  return (
    info.description || [info.vendor, info.architecture, info.device].filter(Boolean).join(" ") || "unnamed adapter"
  )
}
