import { describe, expect, test } from "vitest"
import { autotune } from "../../src/kernels/autotune.ts"
import { Device, type DeviceOptions } from "../../src/kernels/device.ts"
import { findNodeAdapter } from "../../src/platform/node_adapter.ts"
import { openTestDevice, testDeviceKind } from "../helpers/device.ts"

/** A device that passes for hardware, with its defaults. On a CPU most of them are the slower choice, by twice and more. */
async function openHardware(options?: DeviceOptions): Promise<{ device: Device; software: boolean }> {
  const found = await findNodeAdapter(testDeviceKind())
  const device = await Device.open({ ...found, software: false }, options)
  return { device, software: found.software }
}

describe("autotune", () => {
  // Again if it fails, as times on a busy machine may.
  test("has a device use what is fastest, measured once for all beside it, and leaves nothing behind", {
    retry: 2,
  }, async () => {
    const { device, software } = await openHardware({ limits: "default" })
    const beside = device.beside()
    const [tuning, same] = await Promise.all([device, beside].map(autotune))
    expect(device.tuning).toBe(tuning)
    expect(beside.tuning).toBe(same)
    expect(same).toEqual(tuning)
    if (software) {
      expect(tuning!.split).not.toBe(32)
      expect(tuning!.products).toBe(device.subgroups ? "subgroup" : "plain")
      expect(tuning!.ternary).toBe("halves")
    }
    expect(device.memory).toMatchObject({ total: 0, peak: 0 })
    const submit = device.gpu.queue.submit.bind(device.gpu.queue)
    let submits = 0
    Object.assign(device.gpu.queue, {
      submit(buffers: Iterable<GPUCommandBuffer>) {
        submits++
        submit(buffers)
      },
    })
    expect(await autotune(device)).toEqual(tuning)
    expect(submits).toBe(0)
    await device.settle()
    for (const each of [beside, device]) each.dispose()
  })

  test("leaves what was chosen, and a software adapter's defaults", async () => {
    const tuning = { split: 32, products: "plain", attention: "plain", ternary: "dot4" } as const
    const { device, software } = await openHardware({ tuning })
    expect(await autotune(device)).toEqual(tuning)
    device.dispose()
    if (!software) return
    const usual = await openTestDevice()
    const before = usual.tuning
    expect(await autotune(usual)).toBe(before)
    usual.dispose()
  })

  test("leaves the defaults where nothing can be measured, and the error to the device", async () => {
    const { device } = await openHardware()
    const before = device.tuning
    device.gpu.destroy()
    await device.gpu.lost
    expect(await autotune(device)).toEqual(before)
    expect(() => device.check()).toThrow(expect.objectContaining({ kind: "lost" }))
  })

  test("leaves the default where kernels fail, without failing the device", async () => {
    const { device } = await openHardware({ tuning: { products: "plain", attention: "plain" } })
    const { createComputePipeline } = device.gpu
    Object.assign(device.gpu, {
      createComputePipeline: (descriptor: GPUComputePipelineDescriptor) =>
        createComputePipeline.call(device.gpu, {
          ...descriptor,
          compute: { ...descriptor.compute, entryPoint: "none" },
        }),
    })
    const before = device.tuning
    expect(await autotune(device)).toEqual(before)
    await device.settle()
    device.dispose()
  })
})
