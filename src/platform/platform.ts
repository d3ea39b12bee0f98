import type { FoundAdapter } from "../kernels/device.ts"
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
  /** Opens what a user names: a path, a URL, or a Hub id. */
  openFolder(location: string, options: OpenOptions): Promise<Folder>
}

export interface OpenOptions {
  readonly revision?: string
  readonly onProgress?: (progress: DownloadProgress) => void
  readonly signal?: AbortSignal
}

/** A download underway, over all of its files. */
export interface DownloadProgress {
  readonly file: string
  readonly loaded: number
  readonly total: number
  readonly bytesPerSecond: number
  readonly secondsLeft: number
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
