import type { FoundAdapter } from "../kernels/device.ts"
import { GpuError } from "../kernels/errors.ts"
import { type DeviceKind, describe, isSoftware } from "./platform.ts"

/** An adapter of a runtime with WebGPU built in: Deno, browsers. */
export async function findNavigatorAdapter(kind: DeviceKind): Promise<FoundAdapter> {
  const gpu = typeof navigator === "undefined" ? undefined : (navigator.gpu as GPU | undefined)
  if (!gpu)
    throw new GpuError("no-adapter", "device: this runtime has no WebGPU (navigator.gpu), expected one that has")
  const attempts: GPURequestAdapterOptions[] = [{ powerPreference: "high-performance" }, { forceFallbackAdapter: true }]
  const seen: string[] = []
  for (const options of kind === "gpu" ? attempts.slice(0, 1) : attempts) {
    const adapter = await gpu.requestAdapter(options)
    if (!adapter) continue
    const found = { adapter, software: isSoftware(adapter.info), description: describe(adapter.info) }
    if (matches(kind, found)) return found
    seen.push(found.description)
  }
  const had = seen.length > 0 ? seen.join(", ") : "none (is a Vulkan driver, such as Mesa's lavapipe, installed?)"
  throw new GpuError("no-adapter", `device: ${kind} asked for, adapters here: ${had}`)
}

/** Whether an adapter is of the kind asked for. */
export function matches(kind: DeviceKind, found: FoundAdapter): boolean {
  if (kind === "auto") return true
  if (kind === "gpu") return !found.software
  if (kind === "software") return found.software
  return new RegExp(kind === "lavapipe" ? "llvmpipe|lavapipe" : "swiftshader", "i").test(found.description)
}
