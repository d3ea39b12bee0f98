/// <reference types="@webgpu/types" preserve="true" />

import { GpuError } from "./errors.ts"
import { libs } from "./shaders.ts"
import { byteSize, type Dtype, type Matrix, rowsTogether, type Storage, type Tensor } from "./tensor.ts"
import { defaultTuning, expectTuning, type Tuning } from "./tuning.ts"

/** What scripts/generate_shaders.js reads from a .wgsl file. */
export interface Kernel {
  readonly name: string
  readonly source: string
  readonly bindings: Readonly<Record<string, { readonly index: number; readonly access: "read" | "read_write" }>>
  readonly params: Readonly<Record<string, "u32" | "i32" | "f32">>
  readonly paramsIndex: number | null
  readonly overrides: readonly string[]
  /** Families of wgsl/lib that it is linked with; the flavour is the dtype of the tensor bound under that name. */
  readonly flavours: readonly string[]
}

/** What a buffer is for; `Device.memory` counts by it. */
export type MemoryKind = "weights" | "cache" | "training" | "scratch"

/** GPU bytes held now, by kind, and the most that were ever held at once. */
export interface Memory {
  weights: number
  cache: number
  /** Gradients and the optimizer's state. */
  training: number
  scratch: number
  total: number
  peak: number
}

/** An adapter as a platform found it. */
export interface FoundAdapter {
  readonly adapter: GPUAdapter
  /** A CPU pretends to be a GPU. */
  readonly software: boolean
  /** For people: `llvmpipe (LLVM 19.1.7, 256 bits)`. */
  readonly description: string
  /** How to wait for its work; by `await` alone without. */
  readonly wait?: (<T>(promise: Promise<T>) => Promise<T>) | undefined
}

export interface DeviceOptions {
  /** Ask for WebGPU's default limits instead of the adapter's: what the smallest devices offer. */
  readonly limits?: "adapter" | "default"
  /**
   * Use kernels with subgroups wherever there are some and the adapter has them, as tests want it, or never, as on adapters
   * without; otherwise they are used where they pay.
   */
  readonly subgroups?: "always" | "never"
  /** Variants of kernels to use whatever is measured. */
  readonly tuning?: Partial<Tuning>
}

/** One GPUDevice with its pipelines, its accounts and its errors. Only this folder talks to a GPU. */
export class Device {
  readonly gpu: GPUDevice
  readonly software: boolean
  readonly description: string
  /** The largest piece of a buffer that one shader binding may see, in bytes. */
  readonly maxBinding: number
  /** Kernels may `enable subgroups`, and lanes 0 to 3 of every subgroup exist. */
  readonly subgroups: boolean
  /** Kernels with subgroups are wanted whether they pay or not. */
  readonly alwaysSubgroups: boolean
  /** The variants of kernels that runs are recorded with: the defaults until `autotune` has measured. */
  tuning: Tuning
  /** What of `tuning` was asked for when the device was opened. */
  readonly chosen: Partial<Tuning>
  /** Comes true when the device is lost, with the error that all its calls throw then. To be disposed is no loss. */
  readonly lost: Promise<GpuError>
  readonly #pipelines = new Map<string, GPUComputePipeline>()
  readonly #held: Record<MemoryKind, number> = { weights: 0, cache: 0, training: 0, scratch: 0 }
  readonly #kinds = new Map<GPUBuffer, MemoryKind>()
  readonly #compiling = new Set<Promise<void>>()
  #peak = 0
  readonly #found: FoundAdapter
  readonly #options: DeviceOptions
  readonly #ownsGpu: boolean
  #failure: GpuError | undefined
  #disposed = false

  private constructor(gpu: GPUDevice, found: FoundAdapter, options: DeviceOptions, ownsGpu = true) {
    this.gpu = gpu
    this.#found = found
    this.#options = options
    this.#ownsGpu = ownsGpu
    this.software = found.software
    this.description = found.description
    this.subgroups = gpu.features.has("subgroups")
    this.alwaysSubgroups = options.subgroups === "always"
    this.chosen = options.tuning ?? {}
    this.tuning = { ...defaultTuning(found.software), ...this.chosen }
    this.maxBinding = Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize)
    gpu.addEventListener("uncapturederror", (event) => {
      event.preventDefault() // it is thrown by check(), not printed by the runtime
      const { error } = event as GPUUncapturedErrorEvent
      const memory = typeof GPUOutOfMemoryError !== "undefined" && error instanceof GPUOutOfMemoryError
      const failure = new GpuError(memory ? "out-of-memory" : "validation", `${this.description}: ${error.message}`)
      // While shaders compile, one of theirs may be the cause, and its message comes later.
      if (this.#compiling.size === 0) this.#fail(failure)
      else void Promise.all(this.#compiling).then(() => this.#fail(failure))
    })
    this.lost = new Promise((resolve) => {
      void gpu.lost.then((info) => {
        if (this.#disposed) return
        const error = new GpuError("lost", `${this.description}: device lost (${info.reason}): ${info.message}`)
        this.#fail(error)
        resolve(error)
      })
    })
  }

  /**
   * Opens a device on an adapter, with all the limits that the adapter has, with subgroups where they have four lanes, and with
   * timestamps where it has them.
   *
   * @throws {RangeError} for a tuning that there is not
   * @throws {GpuError} `no-adapter` when the adapter refuses
   */
  static async open(found: FoundAdapter, options: DeviceOptions = {}): Promise<Device> {
    expectTuning(options.tuning ?? {})
    const requiredLimits: Record<string, number> = {}
    if (options.limits !== "default") {
      for (const name of WANTED_LIMITS) {
        const value = found.adapter.limits[name]
        if (typeof value === "number") requiredLimits[name] = value
      }
    }
    const subgroups = options.subgroups !== "never" && hasSubgroups(found.adapter)
    const requiredFeatures: GPUFeatureName[] = subgroups ? ["subgroups"] : []
    if (found.adapter.features.has("timestamp-query")) requiredFeatures.push("timestamp-query")
    try {
      return new Device(await found.adapter.requestDevice({ requiredFeatures, requiredLimits }), found, options)
    } catch (cause) {
      throw new GpuError("no-adapter", `${found.description}: no device: ${(cause as Error).message}`, { cause })
    }
  }

  /** Another account on the same GPU, for a second model: kernels may read the buffers of both. It must be disposed first. */
  beside(): Device {
    this.check()
    const device = new Device(this.gpu, this.#found, this.#options, false)
    device.tuning = this.tuning
    return device
  }

  get memory(): Memory {
    return { ...this.#held, total: this.#total, peak: this.#peak }
  }

  get #total(): number {
    return Object.values(this.#held).reduce((sum, bytes) => sum + bytes, 0)
  }

  /** Throws what went wrong on the device since the last look, if anything did. */
  check(): void {
    if (this.#disposed) throw new GpuError("disposed", `${this.description}: device is disposed, expected an open one`)
    if (this.#failure) throw this.#failure
  }

  /**
   * Waits until everything submitted is done and every pipeline is compiled.
   *
   * @throws {GpuError} with the cause, when any of it failed
   */
  async settle(): Promise<void> {
    await Promise.all(this.#compiling)
    this.check()
    await this.#wait(this.gpu.queue.onSubmittedWorkDone())
    this.check()
  }

  /** A buffer that counts as `kind`. Bytes are rounded up to whole u32 words. */
  buffer(kind: MemoryKind, byteLength: number, usage: GPUBufferUsageFlags): GPUBuffer {
    this.check()
    const size = Math.max(4, Math.ceil(byteLength / 4) * 4)
    if (size > this.gpu.limits.maxBufferSize) {
      throw new RangeError(
        `${kind} buffer: ${formatBytes(size)}, expected at most the device's ${formatBytes(this.gpu.limits.maxBufferSize)}`,
      )
    }
    let buffer: GPUBuffer
    try {
      buffer = this.gpu.createBuffer({ size, usage })
    } catch (cause) {
      throw new GpuError("out-of-memory", `${kind} buffer of ${formatBytes(size)}: ${(cause as Error).message}`, {
        cause,
      })
    }
    this.#kinds.set(buffer, kind)
    this.#held[kind] += size
    this.#peak = Math.max(this.#peak, this.#total)
    return buffer
  }

  /** Destroys a buffer of `buffer()` and takes it off the accounts. A second call does nothing. */
  free(buffer: GPUBuffer): void {
    const kind = this.#kinds.get(buffer)
    if (kind === undefined) return
    this.#kinds.delete(buffer)
    this.#held[kind] -= buffer.size
    buffer.destroy()
  }

  /** A tensor with a buffer of its own, zero until written. */
  tensor(kind: MemoryKind, shape: readonly number[], dtype: Dtype = "f32"): Tensor {
    const byteLength = byteSize(shape, dtype)
    if (byteLength > this.maxBinding) {
      throw new RangeError(
        `tensor [${shape.join(", ")}]: ${formatBytes(byteLength)}, expected at most ${formatBytes(this.maxBinding)} per binding`,
      )
    }
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
    const buffer = this.buffer(kind, byteLength, usage)
    const storage: Storage = { byteLength, buffer }
    return { shape, dtype, storage, byteOffset: 0 }
  }

  /** A matrix with as few parts as the largest binding allows. */
  matrix(kind: MemoryKind, shape: readonly [rows: number, columns: number], dtype: Dtype): Matrix {
    const parts = this.split(shape, dtype).map(({ firstRow, rows }) => {
      return { firstRow, rows, tensor: this.tensor(kind, [rows, shape[1]], dtype) }
    })
    return { shape, dtype, parts }
  }

  /** Which rows of a matrix lie together, so that each part fits the largest binding. */
  split([rows, columns]: readonly [rows: number, columns: number], dtype: Dtype): { firstRow: number; rows: number }[] {
    const together = rowsTogether(dtype)
    const groups = Math.floor(this.maxBinding / byteSize([together, columns], dtype))
    const most = Math.max(1, groups) * together // rows too large are refused later
    const parts = []
    for (let firstRow = 0; firstRow < rows; firstRow += most) {
      parts.push({ firstRow, rows: Math.min(most, rows - firstRow) })
    }
    return parts
  }

  /** Writes bytes into a tensor, from `byteOffset` of the tensor on. */
  write(x: Tensor, data: ArrayBufferView<ArrayBuffer>, byteOffset = 0): void {
    if (byteOffset + data.byteLength > byteSize(x.shape, x.dtype)) {
      throw new RangeError(
        `write: bytes are ${byteOffset} to ${byteOffset + data.byteLength}, expected within ${byteSize(x.shape, x.dtype)}`,
      )
    }
    this.gpu.queue.writeBuffer(
      x.storage.buffer!,
      x.byteOffset + byteOffset,
      data.buffer,
      data.byteOffset,
      data.byteLength,
    )
  }

  /** Gives tensors memory that were made without, zero until written. */
  allocate(kind: MemoryKind, tensors: readonly Tensor[]): void {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
    for (const { storage } of tensors) storage.buffer = this.buffer(kind, storage.byteLength, usage)
  }

  /** Sets tensors that fill their buffers to 0. */
  clear(tensors: readonly Tensor[]): void {
    const encoder = this.gpu.createCommandEncoder()
    for (const { storage } of tensors) encoder.clearBuffer(storage.buffer!)
    this.gpu.queue.submit([encoder.finish()])
  }

  /** Reads a tensor back: waits for all work submitted before. */
  async read(x: Tensor): Promise<ArrayBuffer> {
    const size = byteSize(x.shape, x.dtype)
    const staging = this.buffer("scratch", size, GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ)
    try {
      const encoder = this.gpu.createCommandEncoder()
      encoder.copyBufferToBuffer(x.storage.buffer!, x.byteOffset, staging, 0, size)
      this.gpu.queue.submit([encoder.finish()])
      return await this.mapped(staging, size)
    } finally {
      this.free(staging)
    }
  }

  /** The first `byteLength` bytes of a MAP_READ buffer, once the work that fills it is done. */
  async mapped(staging: GPUBuffer, byteLength: number): Promise<ArrayBuffer> {
    try {
      await this.#wait(staging.mapAsync(GPUMapMode.READ, 0, byteLength))
    } catch (cause) {
      await Promise.all(this.#compiling)
      this.check()
      throw new GpuError("lost", `${this.description}: read-back failed: ${(cause as Error).message}`, { cause })
    }
    await Promise.all(this.#compiling)
    this.check()
    const copy = staging.getMappedRange(0, byteLength).slice(0)
    staging.unmap()
    return copy
  }

  /** The compiled kernel in the flavour and with the constants asked for; compiled once. */
  pipeline(
    kernel: Kernel,
    flavours: Readonly<Record<string, string>>,
    constants: Record<string, number>,
  ): GPUComputePipeline {
    const key = `${kernel.name} ${JSON.stringify(flavours)} ${JSON.stringify(constants)}`
    const known = this.#pipelines.get(key)
    if (known) return known
    const code = [kernel.source, ...linkedSources(kernel, flavours)].join("\n")
    this.gpu.pushErrorScope("validation")
    const module = this.gpu.createShaderModule({ code, label: `wgsl/${kernel.name}.wgsl` })
    const pipeline = this.gpu.createComputePipeline({
      label: key,
      layout: "auto",
      compute: { module, entryPoint: "main", constants },
    })
    const compiled = this.gpu.popErrorScope().then(async (error) => {
      if (!error) return
      const messages = (await module.getCompilationInfo()).messages.filter((message) => message.type === "error")
      const where = messages.map((m) => `wgsl/${kernel.name}.wgsl:${m.lineNum}:${m.linePos}: ${m.message}`).join("\n")
      this.#fail(new GpuError("compile", where || `wgsl/${kernel.name}.wgsl: ${error.message}`))
    })
    const settled = compiled.catch(() => undefined).finally(() => this.#compiling.delete(settled))
    this.#compiling.add(settled)
    this.#pipelines.set(key, pipeline)
    return pipeline
  }

  /** Gives every byte back and closes the device. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    for (const buffer of [...this.#kinds.keys()]) this.free(buffer)
    this.#pipelines.clear()
    if (this.#ownsGpu) this.gpu.destroy()
  }

  #wait<T>(promise: Promise<T>): Promise<T> {
    return this.#found.wait ? this.#found.wait(promise) : promise
  }

  #fail(error: GpuError): void {
    // The first failure is the cause and what follows its consequence, except that a shader's own message comes late.
    if (!this.#failure || (error.kind === "compile" && this.#failure.kind === "validation")) this.#failure = error
  }
}

/** Whether an adapter has subgroups, all of four lanes or more. */
function hasSubgroups({ features, info }: GPUAdapter): boolean {
  return features.has("subgroups") && (info.subgroupMinSize ?? 0) >= 4
}

const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
] as const

/**
 * What a kernel is linked with, from wgsl/lib.
 *
 * @throws {TypeError} when there is nothing for a dtype
 */
export function linkedSources(kernel: Kernel, flavours: Readonly<Record<string, string>>): string[] {
  return Object.entries(flavours).map(
    ([family, flavour]) => libs[`${family}_${flavour}`] ?? missing(kernel, family, flavour),
  )
}

function missing(kernel: Kernel, family: string, flavour: string): never {
  throw new TypeError(`${kernel.name}: ${family} is ${flavour}, expected a type with a wgsl/lib/${family}_*.wgsl`)
}

/** `1.3 GiB`, `64.0 MiB`, `12 B`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"]
  let power = 0
  while (bytes >= 1024 && power < units.length - 1) {
    bytes /= 1024
    power++
  }
  return `${power === 0 ? bytes : bytes.toFixed(1)} ${units[power]}`
}
