import type { Device } from "../kernels/device.ts"
import type { ExpertOptions } from "../kernels/expert_mix.ts"
import { Run, ScratchPool } from "../kernels/run.ts"
import type { Variable } from "../kernels/tape.ts"
import { byteSize, type Dtype, type Matrix, rowsTogether, sizeOf, type Tensor } from "../kernels/tensor.ts"
import { ternarize } from "../kernels/ternarize.ts"
import type { Checkpoint, Weight } from "./checkpoint.ts"
import { DTYPE_BYTES, type DType, decodeToFloat32 } from "./dtype.ts"
import { roomFor } from "./joined.ts"
import { type BitWeight, type Linear, type LinearGroup, rowEnds } from "./linear.ts"
import { packedBytes, packingOf, toRows } from "./packed.ts"
import { freeVariable, type Parameter, tensorsOf } from "./parameter.ts"
import { fieldsOfOneInput } from "./weights.ts"

const DTYPES: Readonly<Record<string, Dtype>> = { F32: "f32", F16: "f16", BF16: "bf16" }

/** How much of a file is in memory at once, and after how much the GPU must have caught up. */
const PIECE = 8 * 2 ** 20
const AHEAD = 64 * 2 ** 20

export interface UploadProgress {
  readonly loaded: number
  readonly total: number
}

/** How weights lie on the GPU: `f32` widens those that are stored in fewer bits, as training all of them needs. */
export type WeightPrecision = "stored" | "f32"

export interface UploadOptions {
  readonly dtype?: WeightPrecision | undefined
  readonly onProgress?: (progress: UploadProgress) => void
  readonly signal?: AbortSignal | undefined
}

/** The weights of a checkpoint on the GPU. */
export class Uploaded {
  /** By field; of a ternary weight its packed form. */
  readonly fields = new Map<string, Variable>()
  /** What ternary weights are made of, by field, where all is in f32. */
  readonly latents = new Map<string, Matrix>()
  /** What can be trained, by the checkpoint's names. */
  readonly parameters = new Map<string, Parameter>()
  /** Weights of which only the ternary form is there, by the checkpoint's names. */
  readonly packed = new Map<string, Matrix>()
  /** The types that the checkpoint has them in. */
  readonly stored = new Map<string, DType>()
  /** Linear layers, by the checkpoint's names without `.weight`. */
  readonly linears = new Map<string, Linear>()
  readonly #names = new Map<string, string>()
  /** Weights that lie behind one another, by their fields. */
  readonly #joined = new Map<string, Tensor>()

  add({ spec, info }: Weight, variable: Variable, latent?: Matrix): void {
    this.fields.set(spec.field, variable)
    this.#names.set(spec.field, info.name)
    if (latent) this.latents.set(spec.field, latent)
    this.stored.set(info.name, info.dtype)
    if (latent) this.parameters.set(info.name, { variable: latent, shape: latent.shape, derived: variable as Matrix })
    else if (spec.ternary) this.packed.set(info.name, variable as Matrix)
    else this.parameters.set(info.name, { variable, shape: variable.shape })
  }

  tensor(field: string): Tensor {
    return this.fields.get(field) as Tensor
  }

  matrix(field: string): Matrix {
    return this.fields.get(field) as Matrix
  }

  /** Room for a weight that was asked for with others by `join`. */
  readonly room = new Map<string, Variable>()

  /** Puts weights of one type behind one another, if they can be. */
  join(device: Device, fields: readonly string[], shapes: readonly (readonly number[])[], dtype: Dtype): void {
    const joined = roomFor(device, shapes, dtype)
    if (!joined) return
    this.#joined.set(fields.join(), joined.whole)
    for (const [i, field] of fields.entries()) this.room.set(field, joined.parts[i]!)
  }

  /** Layers of one input; their weights as one where these lie behind one another. */
  group(fields: readonly string[], layers: readonly Linear[]): LinearGroup {
    const whole = this.#whole(fields, layers)
    return { layers, joined: whole && { kind: "dense", matrix: asMatrix(whole) } }
  }

  /** Weights that lie behind one another and whose outputs could be bound one by one: four bytes each, from 256 to 256. */
  #whole(fields: readonly string[], layers: readonly Linear[]): Tensor | undefined {
    return rowEnds(layers).every((end) => end % 64 === 0) ? this.#joined.get(fields.join()) : undefined
  }

  /** Ternary layers of one input and one shape; their weights as one where these lie behind one another. */
  bitGroup(
    fields: readonly string[],
    layers: readonly Linear[],
    options: Pick<BitWeight, "eps" | "actQuant">,
  ): LinearGroup {
    const whole = this.#whole(
      fields.map((field) => `${field}.weight`),
      layers,
    )
    const norms = this.#joined.get(fields.map((field) => `${field}.norm`).join())
    return { layers, joined: whole && norms && { kind: "ternary", matrix: asMatrix(whole), norms, ...options } }
  }

  /** The linear layer of a field, in whatever form it is stored. */
  linear(field: string, experts: ExpertOptions | null): Linear {
    const dense = this.fields.get(field) as Matrix | undefined
    if (dense) return this.#layer(field, { shape: dense.shape, weight: { kind: "dense", matrix: dense }, adapters: [] })
    const [u, v] = [this.matrix(`${field}.u`), this.matrix(`${field}.v`)]
    const shape = [u.shape[0], v.shape[1]] as const
    if (experts && this.fields.has(`${field}.c`)) {
      const [c, gate] = [this.matrix(`${field}.c`), this.matrix(`${field}.router`)]
      const weight = { kind: "experts", experts: { u, c, v, gate }, options: experts } as const
      return this.#layer(`${field}.u`, { shape, weight, adapters: [] })
    }
    return this.#layer(`${field}.u`, { shape, weight: { kind: "low-rank", u, v }, adapters: [] })
  }

  /** The ternary linear layer of a field. */
  bitLinear(field: string, options: Pick<BitWeight, "eps" | "actQuant">): Linear {
    const [matrix, norm] = [this.matrix(`${field}.weight`), this.tensor(`${field}.norm`)]
    const weight = { kind: "ternary", matrix, norm, ...options } as const
    return this.#layer(`${field}.weight`, { shape: matrix.shape, weight, adapters: [] })
  }

  /** Records the ternary forms of weights anew, as they follow what they are made of. */
  derive(run: Run): void {
    for (const [field, latent] of this.latents) ternarize(run, latent, this.matrix(field))
  }

  #layer(field: string, layer: Linear): Linear {
    this.linears.set(this.#names.get(field)!.replace(/(\.[uv])?\.weight$/, ""), layer)
    return layer
  }
}

/** GPU bytes that a weight will take. */
export function uploadBytes({ spec, info }: Pick<Weight, "spec" | "info">, dtype: WeightPrecision = "stored"): number {
  const stored = dtype === "f32" ? byteSize(spec.shape, "f32") : info.end - info.start
  if (!spec.ternary) return stored
  return byteSize(spec.shape, "ternary") + (dtype === "f32" ? stored : 0)
}

/** Puts the checked weights of a checkpoint on the GPU, piece by piece: in their stored types, or ternary. */
export async function uploadWeights(
  device: Device,
  checkpoint: Checkpoint,
  { dtype = "stored", onProgress, signal }: UploadOptions = {},
): Promise<Uploaded> {
  const total = [...checkpoint.weights.values()].reduce((sum, { info }) => sum + info.end - info.start, 0)
  let loaded = 0
  let ahead = 0
  const uploaded = new Uploaded()
  joinWeights(device, checkpoint, dtype, uploaded)
  const read: Read = async (weight, start, end) => {
    signal?.throwIfAborted()
    const bytes = await weight.source.slice(start, end)
    loaded += bytes.byteLength
    ahead += bytes.byteLength
    if (ahead >= AHEAD) {
      await device.settle()
      ahead = 0
    }
    onProgress?.({ loaded, total })
    return new Uint8Array(bytes)
  }
  for (const weight of checkpoint.weights.values()) {
    if (weight.spec.ternary) await uploadTernary(device, weight, dtype, uploaded, read)
    else uploaded.add(weight, await uploadAs(device, weight, dtype, read, uploaded.room.get(weight.spec.field)))
  }
  await device.settle()
  return uploaded
}

/** The type that a weight has on the GPU. */
function typeOf({ spec, info }: Weight, dtype: WeightPrecision): Dtype {
  if (spec.ternary) return "ternary"
  return dtype === "f32" ? "f32" : DTYPES[info.dtype]!
}

/** Room for the weights of one input next to one another. */
function joinWeights(
  device: Device,
  { config, weights }: Checkpoint,
  dtype: WeightPrecision,
  uploaded: Uploaded,
): void {
  for (const fields of fieldsOfOneInput(config)) {
    const group = fields.flatMap((field) => weights.get(field) ?? [])
    const types = new Set(group.map((weight) => typeOf(weight, dtype)))
    if (group.length < fields.length || types.size > 1) continue
    const shapes = group.map(({ spec }) => spec.shape)
    uploaded.join(device, fields, shapes, [...types][0]!)
  }
}

function asMatrix(tensor: Tensor): Matrix {
  const [rows, columns] = tensor.shape as [number, number]
  return { shape: [rows, columns], dtype: tensor.dtype, parts: [{ firstRow: 0, rows, tensor }] }
}

type Read = (weight: Weight, start: number, end: number) => Promise<Uint8Array<ArrayBuffer>>

/** @param room where to put it; memory of its own without */
async function uploadAs(
  device: Device,
  weight: Weight,
  dtype: WeightPrecision,
  read: Read,
  room?: Variable,
): Promise<Variable> {
  const { info, spec } = weight
  const kind = spec.ternary && dtype === "stored" ? "scratch" : "weights"
  const type = dtype === "f32" ? "f32" : DTYPES[info.dtype]!
  const [rows, columns] = spec.shape
  const fresh = () =>
    columns === undefined ? device.tensor(kind, spec.shape, type) : device.matrix(kind, [rows!, columns], type)
  const variable = room ?? fresh()
  const widen = dtype === "f32" && info.dtype !== "F32"
  let start = info.start
  for (const tensor of tensorsOf(variable)) {
    const end = start + sizeOf(tensor.shape) * DTYPE_BYTES[info.dtype]
    for (let at = start; at < end; at += PIECE) {
      const bytes = await read(weight, at, Math.min(end, at + PIECE))
      if (widen) {
        device.write(tensor, decodeToFloat32(info.dtype, bytes), ((at - start) / DTYPE_BYTES[info.dtype]) * 4)
      } else device.write(tensor, bytes, at - start)
    }
    start = end
  }
  return variable
}

/** Makes the ternary form on the GPU; what it was made of stays only where that is to be trained. */
async function uploadTernary(
  device: Device,
  weight: Weight,
  dtype: WeightPrecision,
  uploaded: Uploaded,
  read: Read,
): Promise<void> {
  const [rows, columns] = weight.spec.shape as [number, number]
  const room = uploaded.room.get(weight.spec.field) as Matrix | undefined
  const packed = room ?? device.matrix("weights", [rows, columns], "ternary")
  if (weight.scale) {
    if (dtype === "f32") {
      throw new RangeError(`${weight.info.name}: is stored as ternary alone, expected all of it to load with dtype f32`)
    }
    await uploadPacked(device, weight, packed, read)
    uploaded.add(weight, packed)
    return
  }
  const latent = (await uploadAs(device, weight, dtype, read)) as Matrix
  const run = new Run(device)
  ternarize(run, latent, packed)
  const pool = new ScratchPool(device)
  const plan = run.plan(pool)
  plan.submit()
  await device.settle()
  plan.dispose()
  pool.dispose()
  if (dtype === "stored") freeVariable(device, latent)
  uploaded.add(weight, packed, dtype === "f32" ? latent : undefined)
}

/** Puts trits from a file where they belong: rows of words, each with the scale behind it. */
async function uploadPacked(device: Device, weight: Weight, { shape, parts }: Matrix, read: Read): Promise<void> {
  const [, columns] = shape
  const packing = packingOf(weight, columns)
  const { source, info } = weight.scale!
  const scale = new Float32Array(await source.slice(info.start, info.end))[0]!
  const rowBytes = packedBytes(columns, packing)
  const together = rowsTogether("ternary")
  const step = Math.max(1, Math.floor(PIECE / rowBytes / together)) * together
  for (const { firstRow, rows, tensor } of parts) {
    for (let row = 0; row < rows; row += step) {
      const count = Math.min(step, rows - row)
      const start = weight.info.start + (firstRow + row) * rowBytes
      const bytes = await read(weight, start, start + count * rowBytes)
      device.write(tensor, toRows(bytes, count, columns, packing, scale), byteSize([row, columns], "ternary"))
    }
  }
}
