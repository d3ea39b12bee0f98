import { afterEach, describe, expect, test } from "vitest"
import { add } from "../../src/kernels/add.ts"
import type { Device, Kernel } from "../../src/kernels/device.ts"
import { Device as OpenDevice } from "../../src/kernels/device.ts"
import { GpuError } from "../../src/kernels/errors.ts"
import { Run, ScratchPool } from "../../src/kernels/run.ts"
import { openTestDevice } from "../helpers/device.ts"
import { compute, matrix, tensor, uniform, weights } from "../helpers/kernels.ts"

describe("Device", () => {
  const open: Device[] = []

  async function openDevice(limits: "adapter" | "default" = "default"): Promise<Device> {
    const device = await openTestDevice({ limits })
    open.push(device)
    return device
  }

  afterEach(() => {
    for (const device of open.splice(0)) device.dispose()
  })

  /** What a promise is rejected with. */
  async function failure(promise: Promise<unknown>): Promise<unknown> {
    return promise.then(
      () => expect.fail("expected an error"),
      (error) => error,
    )
  }

  const kernel = (name: string, source: string): Kernel => ({
    name,
    source,
    bindings: { y: { index: 0, access: "read_write" } },
    params: {},
    paramsIndex: null,
    overrides: [],
    flavours: [],
  })

  describe("open", () => {
    test("asks for the adapter's limits, or for WebGPU's own", async () => {
      const [adapter, plain] = [await openDevice("adapter"), await openDevice("default")]
      expect(plain.maxBinding).toBe(2 ** 27)
      expect(plain.gpu.limits.maxStorageBuffersPerShaderStage).toBe(8)
      expect(adapter.maxBinding).toBeGreaterThanOrEqual(2 ** 27)
      expect(adapter.gpu.limits.maxBufferSize).toBeGreaterThanOrEqual(plain.gpu.limits.maxBufferSize)
      expect(adapter.software).toBe(plain.software)
      expect(adapter.description).not.toBe("")
    })

    test("reports an adapter that gives no device", async () => {
      const adapter = {
        limits: {},
        features: new Set(),
        requestDevice: () => Promise.reject(new Error("busy")),
      } as unknown as GPUAdapter
      const error = await failure(OpenDevice.open({ adapter, software: true, description: "Fake" }))
      expect(error).toBeInstanceOf(GpuError)
      expect(error).toMatchObject({ kind: "no-adapter", message: "Fake: no device: busy" })
    })
  })

  describe("memory", () => {
    test("counts bytes by kind, remembers the peak, and is zero after everything is freed", async () => {
      const device = await openDevice()
      expect(device.memory).toEqual({ weights: 0, cache: 0, training: 0, scratch: 0, total: 0, peak: 0 })
      const a = device.tensor("weights", [3, 5], "bf16")
      const b = device.tensor("cache", [100])
      const c = device.buffer("scratch", 10, GPUBufferUsage.STORAGE)
      expect(device.memory).toEqual({ weights: 32, cache: 400, training: 0, scratch: 12, total: 444, peak: 444 })
      for (const buffer of [a.storage.buffer!, c, c]) device.free(buffer)
      expect(device.memory).toEqual({ weights: 0, cache: 400, training: 0, scratch: 0, total: 400, peak: 444 })
      await device.read(b)
      expect(device.memory).toEqual({ weights: 0, cache: 400, training: 0, scratch: 0, total: 400, peak: 800 })
      device.dispose()
      expect(device.memory).toMatchObject({ weights: 0, cache: 0, training: 0, scratch: 0, total: 0 })
      device.dispose()
    })

    test("returns to what it was after a hundred runs", async () => {
      const device = await openDevice()
      const x = tensor(device, [8, 64], uniform(512, 1))
      const before = device.memory.total
      for (let i = 0; i < 100; i++) await compute(device, (run) => add(run, add(run, x, x), x))
      expect(device.memory.total).toBe(before)
    })
  })

  describe("tensor and buffer", () => {
    test("begin as zeros, and hold what is written at an offset", async () => {
      const device = await openDevice()
      const x = device.tensor("weights", [2, 4])
      expect(new Float32Array(await device.read(x))).toEqual(new Float32Array(8))
      device.write(x, Float32Array.of(1, 2), 20)
      expect([...new Float32Array(await device.read(x))]).toEqual([0, 0, 0, 0, 0, 1, 2, 0])
      device.write(x, new Uint32Array(8).subarray(2, 5))
      expect(() => device.write(x, new Float32Array(3), 24)).toThrow(
        new RangeError("write: bytes are 24 to 36, expected within 32"),
      )
    })

    test("refuse what the device cannot hold, with both sizes", async () => {
      const device = await openDevice()
      expect(() => device.tensor("weights", [2 ** 15, 1025])).toThrow(
        new RangeError("tensor [32768, 1025]: 128.1 MiB, expected at most 128.0 MiB per binding"),
      )
      expect(() => device.buffer("cache", 2 ** 29, GPUBufferUsage.STORAGE)).toThrow(
        new RangeError("cache buffer: 512.0 MiB, expected at most the device's 256.0 MiB"),
      )
      expect(device.memory.total).toBe(0)
      await device.settle()
    })
  })

  describe("matrix", () => {
    test("has one part where it fits, and as few as the binding allows where not", async () => {
      const device = await openDevice()
      expect(device.matrix("weights", [100, 64], "f32").parts.length).toBe(1)
      const columns = 2 ** 20 // 4 MiB a row in f32: 32 rows to a binding
      const { parts } = device.matrix("weights", [70, columns], "f32")
      expect(parts.map(({ firstRow, rows }) => [firstRow, rows])).toEqual([
        [0, 32],
        [32, 32],
        [64, 6],
      ])
      expect(parts.every(({ tensor, rows }) => tensor.shape[0] === rows && tensor.shape[1] === columns)).toBe(true)
    })

    test("refuses rows that no binding can hold", async () => {
      const device = await openDevice()
      expect(() => device.matrix("weights", [2, 2 ** 26], "f32")).toThrow(RangeError)
    })
  })

  describe("failures", () => {
    test("a shader that does not compile is named with its line", async () => {
      const device = await openDevice()
      const broken = kernel(
        "broken",
        "// A comment.\n@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n" +
          "@compute @workgroup_size(1)\nfn main() {\n  y[0] = nonsense;\n}\n",
      )
      const run = new Run(device)
      const y = run.keep(run.empty([4]))
      run.dispatch(broken, { y }, {}, [1])
      run.plan(new ScratchPool(device))
      const error = await failure(device.settle())
      expect(error).toBeInstanceOf(GpuError)
      expect(error).toMatchObject({ kind: "compile" })
      expect((error as Error).message).toMatch(/^wgsl\/broken\.wgsl:5:\d+: .*nonsense/)
    })

    test("a shader that does not compile is the cause, whatever fails after it", async () => {
      const device = await openDevice()
      const run = new Run(device)
      const y = run.keep(run.empty([4]))
      run.dispatch(kernel("broken", "fn main() { absent(); }"), { y }, {}, [1])
      const plan = run.plan(new ScratchPool(device))
      const submitted = (async () => {
        plan.submit()
        await device.read(y)
      })()
      expect(await failure(submitted)).toMatchObject({ kind: "compile" })
      expect(await failure(device.settle())).toMatchObject({ kind: "compile" })
    })

    test("a kernel whose binding is not as said fails validation", async () => {
      const device = await openDevice()
      const source =
        "@group(0) @binding(3) var<storage, read_write> y: array<f32>;\n" +
        "@compute @workgroup_size(1) fn main() { y[0] = 1.0; }"
      const run = new Run(device)
      const y = run.keep(run.empty([4]))
      run.dispatch(kernel("elsewhere", source), { y }, {}, [1])
      const submitted = (async () => {
        run.plan(new ScratchPool(device)).submit()
        await device.settle()
      })()
      expect(await failure(submitted)).toMatchObject({ name: "GpuError", kind: "validation" })
    })

    test("an unknown flavour of a kernel is a TypeError that names it", async () => {
      const device = await openDevice()
      const run = new Run(device)
      const linked: Kernel = {
        ...kernel("linked", ""),
        bindings: { weight: { index: 0, access: "read" } },
        flavours: ["weight"],
      }
      expect(() => run.dispatch(linked, { weight: run.empty([4], "u32") }, {}, [1])).toThrow(
        new TypeError("linked: weight is u32, expected a type with a wgsl/lib/weight_*.wgsl"),
      )
    })

    test("a lost device is said to be lost, by everything that follows", async () => {
      const device = await openDevice()
      const x = device.tensor("weights", [4])
      device.gpu.destroy()
      await device.gpu.lost
      await new Promise((resolve) => setTimeout(resolve, 0))
      expect(await failure(device.settle())).toMatchObject({ name: "GpuError", kind: "lost" })
      expect(await failure(device.read(x))).toMatchObject({ kind: "lost" })
      expect(() => device.tensor("weights", [4])).toThrow(GpuError)
    })

    test("lost tells of a device that is lost and of none that is disposed, also of an account beside it", async () => {
      const device = await openDevice()
      const beside = device.beside()
      const [first, second] = [device, beside].map(({ lost }) => lost)
      const disposed = await openDevice()
      let told = false
      void disposed.lost.then(() => {
        told = true
      })
      disposed.dispose()
      device.gpu.destroy()
      expect(await first).toMatchObject({ name: "GpuError", kind: "lost" })
      expect(await second).toMatchObject({ kind: "lost" })
      expect(() => device.check()).toThrow(await first)
      await disposed.gpu.lost
      await new Promise((resolve) => setTimeout(resolve, 0))
      expect(told).toBe(false)
    })

    test("a device lost while a result is awaited fails that read", async () => {
      const device = await openDevice()
      const x = device.tensor("weights", [4])
      const pending = failure(device.read(x))
      device.gpu.destroy()
      expect(await pending).toMatchObject({ name: "GpuError", kind: "lost" })
    })

    test("a disposed device says so", async () => {
      const device = await openDevice()
      const x = tensor(device, [4], new Float32Array(4))
      const run = new Run(device)
      run.keep(add(run, tensor(device, [1, 4], new Float32Array(4)), tensor(device, [1, 4], new Float32Array(4))))
      const plan = run.plan(new ScratchPool(device))
      device.dispose()
      const disposed = { name: "GpuError", kind: "disposed" }
      expect(() => plan.submit()).toThrow(expect.objectContaining(disposed))
      expect(await failure(device.read(x))).toMatchObject(disposed)
      expect(await failure(device.settle())).toMatchObject(disposed)
      expect(() => device.tensor("weights", [4])).toThrow(expect.objectContaining(disposed))
      plan.dispose()
    })
  })

  test("compiles a kernel once for each flavour", async () => {
    const device = await openDevice()
    const run = new Run(device)
    const [x, y] = [run.empty([1, 4]), run.empty([1, 4])]
    add(run, x, y)
    const { add: source } = await import("../../src/kernels/shaders.ts")
    expect(device.pipeline(source, {}, {})).toBe(device.pipeline(source, {}, {}))
    expect(device.pipeline(source, {}, { WORKGROUP: 32 })).not.toBe(device.pipeline(source, {}, {}))
  })

  test("takes a large matrix in one part where the adapter's limits allow", async () => {
    const device = await openDevice("adapter")
    const w = matrix(device, [4, 8], weights(32, 1, "f32"))
    expect(w.parts.length).toBe(1)
    const most = Math.floor(device.maxBinding / 4096)
    const { parts } = device.matrix("weights", [40_000, 1024], "f32")
    expect(parts.length).toBe(Math.ceil(40_000 / most))
  })
})
