import { type Device, type Kernel, linkedSources } from "./device.ts"
import type { Tape } from "./tape.ts"
import { byteSize, type Dtype, type Matrix, type Storage, type Tensor } from "./tensor.ts"

interface Dispatch {
  readonly kernel: Kernel
  readonly flavours: Readonly<Record<string, string>>
  readonly constants: Readonly<Record<string, number>>
  readonly reads: readonly Storage[]
  readonly writes: readonly Storage[]
  readonly bindings: readonly { readonly index: number; readonly tensor: Tensor }[]
  readonly params: ArrayBuffer | undefined
  readonly paramsIndex: number
  readonly workgroups: readonly [number, number, number]
}

/** Scratch buffers that the plans of one model share: plans run one after another, so they may use the same memory. */
export class ScratchPool {
  readonly #device: Device
  readonly #buffers: GPUBuffer[] = []

  constructor(device: Device) {
    this.#device = device
  }

  /** Buffers for slots of these sizes, each its own: existing ones where they fit, new ones where not. */
  take(sizes: readonly number[]): GPUBuffer[] {
    const free = [...this.#buffers].sort((a, b) => a.size - b.size)
    const taken = sizes.map((size) => {
      const at = free.findIndex((buffer) => buffer.size >= size)
      if (at >= 0) return free.splice(at, 1)[0]!
      const buffer = this.#device.buffer("scratch", size, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC)
      this.#buffers.push(buffer)
      return buffer
    })
    return taken
  }

  dispose(): void {
    for (const buffer of this.#buffers.splice(0)) this.#device.free(buffer)
  }
}

export interface RunOptions {
  /**
   * Take activations as they are, as prompts and scores do, whose tokens are many or count each; a decode step may round them to
   * eight bits where the weights have no more.
   */
  readonly exact?: boolean
}

/**
 * Records a sequence of dispatches. Nothing happens on the GPU meanwhile: tensors of `empty` have no memory until
 * `plan()` knows when each is last used and lets those that never live together share a buffer.
 */
export class Run {
  readonly device: Device
  /** Few tokens meet weights of few bits as they are, not rounded to eight bits. */
  readonly exact: boolean
  #tape: Tape | undefined
  readonly #dispatches: Dispatch[] = []
  readonly #scratch = new Set<Storage>()
  readonly #kept: Storage[] = []

  constructor(device: Device, tape?: Tape, { exact = false }: RunOptions = {}) {
    this.device = device
    this.exact = exact
    this.#tape = tape
  }

  /** Where ops record their backward, if gradients will be asked for. */
  get tape(): Tape | undefined {
    return this.#tape
  }

  /** Records what `work` does on another tape, or on none. */
  on<T>(tape: Tape | undefined, work: () => T): T {
    const before = this.#tape
    this.#tape = tape
    try {
      return work()
    } finally {
      this.#tape = before
    }
  }

  /** GPU bytes that a plan would take for scratch and results. */
  get bytes(): number {
    const slots = assignSlots(lifetimes(this.#live(), this.#scratch))
    const kept = this.#kept.reduce((sum, storage) => sum + storage.byteLength, 0)
    return slots.reduce((sum, slot) => sum + slot.size, kept)
  }

  /** A tensor for results within this run. Its memory is recycled after its last use. */
  empty(shape: readonly number[], dtype: Dtype = "f32"): Tensor {
    const byteLength = byteSize(shape, dtype)
    if (byteLength > this.device.maxBinding) {
      throw new RangeError(
        `run: [${shape.join(", ")}] is ${byteLength} bytes, expected at most ${this.device.maxBinding} per binding`,
      )
    }
    const storage: Storage = { byteLength, buffer: undefined }
    this.#scratch.add(storage)
    return { shape, dtype, storage, byteOffset: 0 }
  }

  /** A matrix for results within this run, in parts as the largest binding asks for. */
  emptyMatrix([rows, columns]: readonly [rows: number, columns: number]): Matrix {
    const parts = this.device.split([rows, columns], "f32").map(({ firstRow, rows }) => {
      return { firstRow, rows, tensor: this.empty([rows, columns]) }
    })
    return { shape: [rows, columns], dtype: "f32", parts }
  }

  /** Keeps a result: its memory is its own and lives as long as the plan. */
  keep(x: Tensor): Tensor {
    if (this.#scratch.delete(x.storage)) this.#kept.push(x.storage)
    return x
  }

  /** Records one dispatch. Buffers, parameters and overrides are named as in the shader. */
  dispatch<K extends Kernel>(
    kernel: K,
    buffers: Readonly<Record<keyof K["bindings"], Tensor>>,
    params: Readonly<Record<keyof K["params"], number>>,
    workgroups: readonly [x: number, y?: number, z?: number],
    constants: Partial<Readonly<Record<K["overrides"][number], number>>> = {},
  ): void {
    const flavours: Record<string, string> = {}
    for (const family of kernel.flavours) flavours[family] = (buffers as Record<string, Tensor>)[family]!.dtype
    linkedSources(kernel, flavours) // a wrong type is refused here, not when the run is planned
    const reads: Storage[] = []
    const writes: Storage[] = []
    const bindings = Object.entries(kernel.bindings).map(([name, { index, access }]) => {
      const tensor = (buffers as Record<string, Tensor>)[name]!
      if (access === "read") reads.push(tensor.storage)
      else writes.push(tensor.storage)
      return { index, tensor }
    })
    const [x, y = 1, z = 1] = workgroups
    this.#dispatches.push({
      kernel,
      flavours,
      constants: constants as Record<string, number>,
      reads,
      writes,
      bindings,
      params: kernel.paramsIndex === null ? undefined : packParams(kernel, params),
      paramsIndex: kernel.paramsIndex ?? 0,
      workgroups: [x, y, z],
    })
  }

  /**
   * Drops the dispatches whose results nothing reads, gives every tensor its memory and fixes the rest, to be encoded
   * any number of times.
   */
  plan(pool: ScratchPool): Plan {
    const dispatches = this.#live()
    const slots = assignSlots(lifetimes(dispatches, this.#scratch))
    const buffers = pool.take(slots.map((slot) => slot.size))
    slots.forEach((slot, i) => {
      for (const storage of slot.storages) storage.buffer = buffers[i]!
    })
    const owned = this.#kept.map((storage) => {
      storage.buffer = this.device.buffer(
        "scratch",
        storage.byteLength,
        GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
      )
      return storage.buffer
    })
    return new Plan(this.device, dispatches, owned)
  }

  /** The dispatches that a kept or outside tensor depends on, in order. */
  #live(): Dispatch[] {
    const wanted = new Set<Storage>()
    const live = this.#dispatches.toReversed().filter((dispatch) => {
      if (!dispatch.writes.some((storage) => !this.#scratch.has(storage) || wanted.has(storage))) return false
      for (const storage of dispatch.reads) wanted.add(storage)
      return true
    })
    return live.reverse()
  }
}

interface Step {
  readonly kernel: string
  /** What is bound, all in all. */
  readonly bytes: number
  readonly pipeline: GPUComputePipeline
  readonly group: GPUBindGroup
  readonly x: number
  readonly y: number
  readonly z: number
}

/**
 * What a bind group weighs for the collector. Bind groups cannot be destroyed: a driver's memory for one is free again when its object is
 * collected, and the collector knows nothing of that memory. Plans of prompts' last pieces come and go, and on llvmpipe, which maps a piece of
 * memory for every second one, a process ran out of maps (65,530) before there was enough else to collect. So each keeps as many bytes of an array
 * buffer alive, which the collector counts and nobody touches.
 */
const BIND_GROUP_BYTES = 8192
const BIND_GROUPS = new WeakMap<GPUBindGroup, ArrayBuffer>()

/** A fixed sequence of dispatches with its memory, bind groups and parameters. */
export class Plan {
  readonly #device: Device
  readonly #steps: readonly Step[]
  readonly #owned: readonly GPUBuffer[]

  constructor(device: Device, dispatches: readonly Dispatch[], kept: readonly GPUBuffer[]) {
    this.#device = device
    const { minUniformBufferOffsetAlignment: align } = device.gpu.limits
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST
    const uniform = device.buffer("scratch", Math.max(1, dispatches.length) * align, usage)
    this.#owned = [uniform, ...kept]
    const all = new Uint8Array(dispatches.length * align)
    this.#steps = dispatches.map((dispatch, i) => {
      const entries: GPUBindGroupEntry[] = dispatch.bindings.map(({ index, tensor }) => ({
        binding: index,
        resource: {
          buffer: tensor.storage.buffer!,
          offset: tensor.byteOffset,
          size: byteSize(tensor.shape, tensor.dtype),
        },
      }))
      if (dispatch.params) {
        all.set(new Uint8Array(dispatch.params), i * align)
        const resource = { buffer: uniform, offset: i * align, size: dispatch.params.byteLength }
        entries.push({ binding: dispatch.paramsIndex, resource })
      }
      const pipeline = device.pipeline(dispatch.kernel, dispatch.flavours, dispatch.constants)
      const group = device.gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries })
      const [x, y, z] = dispatch.workgroups
      const bytes = dispatch.bindings.reduce((sum, { tensor }) => sum + byteSize(tensor.shape, tensor.dtype), 0)
      return { kernel: dispatch.kernel.name, bytes, pipeline, group, x, y, z }
    })
    if (all.byteLength > 0) device.gpu.queue.writeBuffer(uniform, 0, all)
    const weight = new ArrayBuffer(dispatches.length * BIND_GROUP_BYTES)
    for (const { group } of this.#steps) BIND_GROUPS.set(group, weight)
  }

  /** How many dispatches one encoding makes. */
  get dispatches(): number {
    return this.#steps.length
  }

  /** The kernels of the dispatches, in order, and the bytes that are bound to each. */
  get kernels(): { readonly kernel: string; readonly bytes: number }[] {
    return this.#steps.map(({ kernel, bytes }) => ({ kernel, bytes }))
  }

  /**
   * Puts the dispatches into a pass.
   *
   * @param only of these kernels, to time them
   */
  encode(pass: GPUComputePassEncoder, only?: ReadonlySet<string>): void {
    for (const { kernel, pipeline, group, x, y, z } of this.#steps) {
      if (only && !only.has(kernel)) continue
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, group)
      pass.dispatchWorkgroups(x, y, z)
    }
  }

  /** Encodes and submits the dispatches once. */
  submit(): void {
    this.#device.check()
    const encoder = this.#device.gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    this.encode(pass)
    pass.end()
    this.#device.gpu.queue.submit([encoder.finish()])
  }

  dispose(): void {
    for (const buffer of this.#owned) this.#device.free(buffer)
  }
}

/** Parameters in the order of the shader's struct, all four bytes wide, padded to the 16 bytes a uniform wants. */
function packParams(kernel: Kernel, params: Readonly<Record<string, number>>): ArrayBuffer {
  const fields = Object.entries(kernel.params)
  const bytes = new ArrayBuffer(Math.max(16, Math.ceil(fields.length / 4) * 16))
  const data = new DataView(bytes)
  fields.forEach(([name, type], i) => {
    if (type === "f32") data.setFloat32(i * 4, params[name]!, true)
    else if (type === "i32") data.setInt32(i * 4, params[name]!, true)
    else data.setUint32(i * 4, params[name]!, true)
  })
  return bytes
}

interface Life {
  first: number
  last: number
}

/** The first and the last dispatch that touch each scratch storage. */
function lifetimes(dispatches: readonly Dispatch[], scratch: ReadonlySet<Storage>): Map<Storage, Life> {
  const lives = new Map<Storage, Life>()
  dispatches.forEach(({ reads, writes }, i) => {
    for (const storage of [...reads, ...writes]) {
      if (!scratch.has(storage)) continue
      const life = lives.get(storage)
      if (life) life.last = i
      else lives.set(storage, { first: i, last: i })
    }
  })
  return lives
}

/**
 * Storages that never live at the same time share a slot: the largest first, each into the first slot free over its
 * life (greedy by size, Pisarchyk & Lee, arXiv:2001.03288, section 4.2).
 */
function assignSlots(lives: ReadonlyMap<Storage, Life>): { size: number; storages: Storage[] }[] {
  const slots: { size: number; storages: Storage[]; lives: Life[] }[] = []
  for (const [storage, life] of [...lives].sort(([a], [b]) => b.byteLength - a.byteLength)) {
    const free = slots.find((slot) => slot.lives.every((other) => other.last < life.first || life.last < other.first))
    const slot = free ?? { size: storage.byteLength, storages: [], lives: [] }
    if (!free) slots.push(slot)
    slot.storages.push(storage)
    slot.lives.push(life)
  }
  return slots
}
