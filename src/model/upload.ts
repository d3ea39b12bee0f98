import type { Device } from "../kernels/device.ts"
import { isQuantized, type QuantizedDtype } from "../kernels/quantize.ts"
import type { Variable } from "../kernels/tape.ts"
import { byteSize, type Dtype, type Matrix, sizeOf } from "../kernels/tensor.ts"
import type { Checkpoint, Weight } from "./checkpoint.ts"
import { DTYPE_BYTES, type DType, decodeToFloat32, encodeFloat32 } from "./dtype.ts"
import { freeVariable, tensorsOf } from "./parameter.ts"
import { PIECE, type Read } from "./pieces.ts"
import { isOwn, typeOfBlocks } from "./quantized.ts"
import { uploadBlocks, uploadQuantized } from "./upload_quantized.ts"
import { makeTernary, uploadTrits } from "./upload_ternary.ts"
import { Uploaded } from "./uploaded.ts"
import { fieldsOfOneInput } from "./weights.ts"

const DTYPES: Readonly<Record<string, Dtype>> = { F32: "f32", F16: "f16", BF16: "bf16" }
const STORED: Readonly<Record<string, DType>> = { f32: "F32", f16: "F16", bf16: "BF16" }

/** After how many bytes the GPU must have caught up. */
const AHEAD = 64 * 2 ** 20

export interface UploadProgress {
  readonly loaded: number
  readonly total: number
}

export const WEIGHT_PRECISIONS = ["stored", "f32", "bf16", "f16", "q8", "q4"] as const

/**
 * How weights lie on the GPU. `f32` widens all of them, as training all needs; `bf16` and `f16` convert the matrices, `q8` and `q4`
 * round those whose rows are a multiple of 32 long to eight and four bits in blocks of 32. Ternary weights are ternary in any case;
 * those that a file has in q4 or q8 stay so where that is asked for, or `stored`, and are not there to be trained in f32.
 */
export type WeightPrecision = (typeof WEIGHT_PRECISIONS)[number]

export interface UploadOptions {
  readonly dtype?: WeightPrecision | undefined
  readonly onProgress?: (progress: UploadProgress) => void
  readonly signal?: AbortSignal | undefined
}

/** What is known of a weight before it is read. */
type Known = Pick<Weight, "spec" | "info" | "blocks">

/** The type that a weight has on the GPU. */
function typeOf(weight: Known, dtype: WeightPrecision): Dtype {
  if (weight.spec.ternary) return "ternary"
  return typeKept(weight, dtype) ?? fullType(weight, dtype) ?? (dtype as QuantizedDtype)
}

/**
 * The type of a weight that stays in the codes that its file has; undefined where it does not.
 *
 * @throws {RangeError} where all weights are asked for and only its codes are there
 */
function typeKept({ info, blocks }: Known, dtype: WeightPrecision): QuantizedDtype | undefined {
  if (!blocks) return undefined
  const type = typeOfBlocks(blocks)
  if (dtype === "f32" && isOwn(blocks)) {
    throw new RangeError(`${info.name}: is stored in ${type} alone, expected all of it to load with dtype f32`)
  }
  return dtype === "stored" || dtype === type ? type : undefined
}

/** The type of a weight that is not rounded to few bits; undefined where it is. */
function fullType({ spec, info }: Known, dtype: WeightPrecision): Dtype | undefined {
  const stored = DTYPES[info.dtype]!
  if (dtype === "f32") return "f32"
  const [, columns] = spec.shape
  if (dtype === "stored" || columns === undefined || spec.ternary) return stored
  if (dtype === "bf16" || dtype === "f16") return dtype
  return columns % 32 === 0 && spec.name.endsWith(".weight") ? undefined : stored
}

/** GPU bytes that a weight will take. */
export function uploadBytes(weight: Known, dtype: WeightPrecision = "stored"): number {
  const { shape, ternary } = weight.spec
  return byteSize(shape, typeOf(weight, dtype)) + (ternary && dtype === "f32" ? byteSize(shape, "f32") : 0)
}

/** Puts the checked weights of a checkpoint on the GPU, piece by piece. */
export async function uploadWeights(
  device: Device,
  checkpoint: Checkpoint,
  { dtype = "stored", onProgress, signal }: UploadOptions = {},
): Promise<Uploaded> {
  const total = [...checkpoint.weights.values()].reduce((sum, weight) => sum + readBytes(weight, dtype), 0)
  let loaded = 0
  let ahead = 0
  const uploaded = new Uploaded()
  joinWeights(device, checkpoint, dtype, uploaded)
  const read: Read = async ({ source }, start, end) => {
    signal?.throwIfAborted()
    const bytes = await source.slice(start, end)
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
    await uploadWeight(device, checkpoint, weight, dtype, uploaded, read)
  }
  await device.settle()
  return uploaded
}

/** A weight that has, or will have, codes. */
export interface Quantized {
  readonly weight: Weight
  readonly dtype: QuantizedDtype
}

/** The weights that are in blocks of codes on the GPU, by the checkpoint's names. */
export function quantizedWeights({ weights }: Checkpoint, dtype: WeightPrecision): Map<string, Quantized> {
  const quantized = new Map<string, Quantized>()
  for (const weight of weights.values()) {
    const type = typeOf(weight, dtype)
    if (isQuantized(type)) quantized.set(weight.info.name, { weight, dtype: type })
  }
  return quantized
}

/** Puts a single one of them there, as it is among all others, to be freed. */
export async function uploadCodes(
  device: Device,
  checkpoint: Checkpoint,
  { weight, dtype }: Quantized,
  signal?: AbortSignal,
): Promise<Matrix> {
  const uploaded = new Uploaded()
  await uploadWeight(device, checkpoint, weight, dtype, uploaded, async ({ source }, start, end) => {
    signal?.throwIfAborted()
    return new Uint8Array(await source.slice(start, end))
  })
  return uploaded.matrix(weight.spec.field)
}

/** How much is read of a weight. */
function readBytes(weight: Weight, dtype: WeightPrecision): number {
  const { start, end } = (typeKept(weight, dtype) && weight.blocks) ?? weight.info
  return end - start
}

async function uploadWeight(
  device: Device,
  checkpoint: Checkpoint,
  weight: Weight,
  dtype: WeightPrecision,
  uploaded: Uploaded,
  read: Read,
): Promise<void> {
  const type = typeOf(weight, dtype)
  const target = uploaded.room.get(weight.spec.field) ?? fresh(device, weight, type)
  if (type === "ternary") {
    const latent = await uploadTernary(device, weight, dtype, target as Matrix, read)
    uploaded.add(weight, target, latent)
    return
  }
  if (typeKept(weight, dtype)) await uploadBlocks(device, weight.blocks!, target as Matrix, read)
  else if (isQuantized(type))
    await uploadQuantized(device, checkpoint, weight, DTYPES[weight.info.dtype]!, target as Matrix, read)
  else await fill(device, weight, target, read)
  uploaded.add(weight, target)
}

function fresh(
  device: Device,
  { spec: { shape } }: Weight,
  type: Dtype,
  kind: "weights" | "scratch" = "weights",
): Variable {
  const [rows, columns] = shape
  return columns === undefined ? device.tensor(kind, shape, type) : device.matrix(kind, [rows!, columns], type)
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

/** Copies a weight, converted where its type is another. */
async function fill(device: Device, weight: Weight, target: Variable, read: Read): Promise<void> {
  const { dtype, start: first } = weight.info
  const stored = DTYPE_BYTES[dtype]
  const into = STORED[target.dtype]!
  let start = first
  for (const tensor of tensorsOf(target)) {
    const end = start + sizeOf(tensor.shape) * stored
    for (let at = start; at < end; at += PIECE) {
      const bytes = await read(weight, at, Math.min(end, at + PIECE))
      const converted = into === dtype ? bytes : encodeFloat32(into, decodeToFloat32(dtype, bytes))
      device.write(tensor, converted, ((at - start) / stored) * DTYPE_BYTES[into])
    }
    start = end
  }
}

/** Makes the ternary form on the GPU. @returns what it was made of, where that is to be trained */
async function uploadTernary(
  device: Device,
  weight: Weight,
  dtype: WeightPrecision,
  target: Matrix,
  read: Read,
): Promise<Matrix | undefined> {
  const train = dtype === "f32"
  if (weight.scale) {
    if (train) {
      throw new RangeError(`${weight.info.name}: is stored as ternary alone, expected all of it to load with dtype f32`)
    }
    await uploadTrits(device, weight, target, read)
    return undefined
  }
  const latent = fresh(device, weight, fullType(weight, dtype)!, train ? "weights" : "scratch") as Matrix
  await fill(device, weight, latent, read)
  await makeTernary(device, latent, target)
  if (train) return latent
  freeVariable(device, latent)
  return undefined
}
