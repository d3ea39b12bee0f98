import { execFile } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { describe, expect, test } from "vitest"
import { Run } from "../../src/kernels/run.ts"
import { sharesFew, sharesLoads } from "../../src/kernels/subgroups.ts"
import { openTestDevice } from "../helpers/device.ts"

const script = new URL("../helpers/subgroup_products.ts", import.meta.url).pathname

describe("kernels with subgroups", () => {
  // llvmpipe has subgroups as wide as its vectors: 8 lanes of 32 bits where nothing else is asked for, as in all other tests. Others
  // have their own.
  test.each([4, 16])("give what their definitions give with %i lanes", async (lanes) => {
    const cache = await mkdtemp(join(tmpdir(), "gemlet-shaders-")) // shaders of other widths are not theirs
    const quick = { GALLIVM_PERF: "nopt" } // wide vectors take long to optimize
    const env = { ...process.env, ...quick, LP_NATIVE_VECTOR_WIDTH: `${lanes * 32}`, MESA_SHADER_CACHE_DIR: cache }
    try {
      const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", script], { env })
      const result = JSON.parse(stdout)
      if (/llvmpipe/.test(result.description)) expect(result).toMatchObject({ subgroups: true, size: lanes })
      for (const [what, error] of Object.entries(result.linears)) expect(error, what).toBeLessThan(1e-5)
      for (const [what, error] of Object.entries(result.attends)) expect(error, what).toBeLessThan(5e-6)
    } finally {
      await rm(cache, { recursive: true, force: true })
    }
  })

  test("give what their definitions give with 8 lanes, on llvmpipe, throughout the other tests", async () => {
    const device = await openTestDevice()
    const { subgroupMinSize } = device.gpu.adapterInfo
    if (/llvmpipe/.test(device.description)) expect([device.subgroups, subgroupMinSize]).toEqual([true, 8])
    device.dispose()
  })

  test("are taken for large products where the tuning says so, for all or none where that is asked for", async () => {
    const options = [
      undefined,
      { subgroups: "always" },
      { subgroups: "never" },
      { tuning: { products: "plain", attention: "subgroup" } },
      { tuning: { products: "subgroup", attention: "plain" } },
      { tuning: { products: "subgroup", split: 32 } },
    ] as const
    const devices = await Promise.all(options.map((each) => openTestDevice(each)))
    const [auto, always, never, attention, products, shared] = devices.map((device) => new Run(device)) as [
      Run,
      Run,
      Run,
      Run,
      Run,
      Run,
    ]
    const { subgroups, software } = auto.device
    expect(subgroups).toBe(auto.device.gpu.features.has("subgroups"))
    expect(never.device.gpu.features.has("subgroups")).toBe(false)
    expect([2 ** 23 - 1, 2 ** 23].map((work) => sharesLoads(auto, work))).toEqual([false, subgroups && software])
    expect([always, never].map((run) => sharesLoads(run, run === never ? 2 ** 40 : 1))).toEqual([subgroups, false])
    expect([attention, products].map((run) => sharesLoads(run, 2 ** 23))).toEqual([false, subgroups])
    expect([attention, products].map((run) => sharesLoads(run, 2 ** 23, "attention"))).toEqual([subgroups, false])
    const runs = [auto, always, never, attention, products, shared]
    const streamed = subgroups && software // a row by one invocation, where nothing else is asked for
    expect(runs.map((run) => sharesFew(run))).toEqual([streamed, subgroups, false, false, streamed, false])
    const attending = runs.map((run) => sharesFew(run, "attention"))
    expect(attending).toEqual([streamed, subgroups, false, streamed, false, false])
    const beside = always.device.beside()
    expect(sharesLoads(new Run(beside), 1)).toBe(subgroups)
    for (const device of [beside, ...devices]) device.dispose()
  })
})
