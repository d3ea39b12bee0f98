import { execFile } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { describe, expect, test } from "vitest"
import type { Device } from "../../src/kernels/device.ts"
import { Run } from "../../src/kernels/run.ts"
import { sharesLoads } from "../../src/kernels/subgroups.ts"
import { openTestDevice } from "../helpers/device.ts"

const script = new URL("../helpers/subgroup_products.ts", import.meta.url).pathname

describe("kernels with subgroups", () => {
  // llvmpipe has subgroups as wide as its vectors: 8 lanes of 32 bits where nothing else is asked for. Others have their own.
  test.each([4, 16])("give what their definitions give with %i lanes", async (lanes) => {
    const cache = await mkdtemp(join(tmpdir(), "gemlet-shaders-")) // shaders of other widths are not theirs
    const env = { ...process.env, LP_NATIVE_VECTOR_WIDTH: `${lanes * 32}`, MESA_SHADER_CACHE_DIR: cache }
    try {
      const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", script], { env })
      const result = JSON.parse(stdout)
      if (/llvmpipe/.test(result.description)) expect(result).toMatchObject({ subgroups: true, size: lanes })
      expect(result.linear).toBeLessThan(1e-5)
      expect(result.attend).toBeLessThan(5e-6)
    } finally {
      await rm(cache, { recursive: true, force: true })
    }
  })

  test("are taken for large products on software adapters, for all or none where that is asked for", async () => {
    const devices = await Promise.all(
      ([undefined, "always", "never"] as const).map((subgroups) => openTestDevice(subgroups && { subgroups })),
    )
    const [auto, always, never] = devices as [Device, Device, Device]
    const taken = (device: Device, work: number) => sharesLoads(new Run(device), work)
    expect(auto.subgroups).toBe(auto.gpu.features.has("subgroups"))
    expect(never.gpu.features.has("subgroups")).toBe(false)
    expect([2 ** 23 - 1, 2 ** 23].map((work) => taken(auto, work))).toEqual([false, auto.subgroups && auto.software])
    expect(taken(always, 1)).toBe(always.subgroups)
    expect(taken(never, 2 ** 40)).toBe(false)
    const beside = always.beside()
    expect(taken(beside, 1)).toBe(always.subgroups)
    for (const device of [beside, ...devices]) device.dispose()
  })
})
