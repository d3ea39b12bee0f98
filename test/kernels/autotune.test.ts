import { describe, expect, test } from "vitest"
import { autotune } from "../../src/kernels/autotune.ts"
import { CHOICES } from "../../src/kernels/tuning.ts"
import { openTestDevice } from "../helpers/device.ts"

describe("autotune", () => {
  test("has a device use what it measured, once for all beside it, and leaves nothing behind", async () => {
    const device = await openTestDevice({ limits: "default" })
    const beside = device.beside()
    const [tuning, same] = await Promise.all([device, beside].map((each) => autotune(each, { force: true })))
    expect(device.tuning).toBe(tuning)
    expect(same).toEqual(tuning)
    expect(Object.keys(tuning!).sort()).toEqual(Object.keys(CHOICES).sort())
    // A CPU that reads one row of thousands at a time by 32 takes twice the time: no noise makes up for that.
    if (device.software) expect(tuning!.split).toBe(1)
    expect(device.memory).toMatchObject({ total: 0, peak: 0 })
    const again = performance.now()
    expect(await autotune(device, { force: true })).toEqual(tuning)
    expect(performance.now() - again).toBeLessThan(50) // not measured anew
    await device.settle()
    for (const each of [beside, device]) each.dispose()
  })

  test("leaves what was chosen and, unless forced, a software adapter's defaults", async () => {
    const tuning = { split: 32, products: "plain", attention: "plain", ternary: "dot4" } as const
    const chosen = await openTestDevice({ tuning })
    expect(await autotune(chosen, { force: true })).toEqual(tuning)
    const usual = await openTestDevice()
    const before = usual.tuning
    if (usual.software) expect(await autotune(usual)).toBe(before)
    for (const device of [chosen, usual]) device.dispose()
  })

  test("leaves the defaults where nothing can be measured, and the error to the device", async () => {
    const device = await openTestDevice()
    const before = device.tuning
    device.gpu.destroy()
    await device.gpu.lost
    expect(await autotune(device, { force: true })).toEqual(before)
    expect(() => device.check()).toThrow(expect.objectContaining({ kind: "lost" }))
  })

  test("leaves the default where kernels fail, without failing the device", async () => {
    const device = await openTestDevice({ tuning: { products: "plain", attention: "plain", ternary: "dot4" } })
    const { createComputePipeline } = device.gpu
    Object.assign(device.gpu, {
      createComputePipeline: (descriptor: GPUComputePipelineDescriptor) =>
        createComputePipeline.call(device.gpu, {
          ...descriptor,
          compute: { ...descriptor.compute, entryPoint: "none" },
        }),
    })
    const before = device.tuning
    expect(await autotune(device, { force: true })).toEqual(before)
    await device.settle()
    device.dispose()
  })
})
