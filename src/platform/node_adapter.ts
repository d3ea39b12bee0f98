import type { FoundAdapter } from "../kernels/device.ts"
import { GpuError } from "../kernels/errors.ts"
import { findNavigatorAdapter, matches } from "./navigator_adapter.ts"
import { patiently } from "./patience.ts"
import { type DeviceKind, describe, isSoftware } from "./platform.ts"
import { hasVulkanLoader, installSwiftShader } from "./swiftshader.ts"

/** Dawn's instances must outlive their devices, or the process crashes. */
const instances: GPU[] = []

/**
 * An adapter for Node (Dawn, from npm `webgpu`) or Deno (built in): hardware if there is one, else lavapipe if the
 * system's Vulkan has it, else SwiftShader from npm alone.
 */
export async function findNodeAdapter(kind: DeviceKind): Promise<FoundAdapter> {
  if ("Deno" in globalThis) return findNavigatorAdapter(kind)
  const { create, globals } = await import("webgpu")
  Object.assign(globalThis, globals)
  const seen: string[] = []
  const attempt = async (flags: string[]): Promise<FoundAdapter | undefined> => {
    let adapter: GPUAdapter | null = null
    try {
      const gpu = create(flags)
      instances.push(gpu)
      adapter = await gpu.requestAdapter({ powerPreference: "high-performance" })
    } catch {
      return undefined // Dawn throws where no backend or no adapter of that name exists
    }
    if (!adapter) return undefined
    const software = isSoftware(adapter.info)
    const wait = software ? patiently : undefined
    const found = { adapter, software, description: describe(adapter.info), wait }
    if (matches(kind, found)) return found
    seen.push(found.description)
    return undefined
  }
  const fallback = kind !== "gpu" && kind !== "lavapipe" && process.platform === "linux"
  let cause: unknown
  const install = async () => {
    try {
      await installSwiftShader()
    } catch (error) {
      cause = error
    }
  }
  // Asked first, Dawn would complain about the missing loader on stderr.
  if (fallback && !hasVulkanLoader()) await install()
  const named = kind === "software" || kind === "lavapipe" ? ["adapter=llvmpipe"] : []
  const found = kind === "swiftshader" ? await attempt(["adapter=SwiftShader"]) : await attempt(named)
  if (found) return found
  if (fallback) {
    await install()
    const software = await attempt([])
    if (software) return software
  }
  const had = seen.length > 0 ? seen.join(", ") : "none"
  const why = cause ? `; SwiftShader from npm: ${(cause as Error).message}` : ""
  throw new GpuError("no-adapter", `device: ${kind} asked for, adapters here: ${had}${why}`, { cause })
}
