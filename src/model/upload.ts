import type { Device } from "../kernels/device.ts"
import { type Dtype, type Matrix, sizeOf, type Tensor } from "../kernels/tensor.ts"
import type { Checkpoint, Weight } from "./checkpoint.ts"
import { DTYPE_BYTES, type DType, decodeToFloat32 } from "./dtype.ts"
import type { ModelWeights } from "./gemma.ts"
import type { Linear } from "./linear.ts"

const DTYPES: Readonly<Record<string, Dtype>> = { F32: "f32", F16: "f16", BF16: "bf16" }

/** How much of a file is in memory at once, and after how much the GPU must have caught up. */
const PIECE = 8 * 2 ** 20
const AHEAD = 64 * 2 ** 20

export interface UploadProgress {
  readonly loaded: number
  readonly total: number
}

export interface UploadOptions {
  /** `f32` widens weights that are stored in fewer bits, as training all of them needs. */
  readonly dtype?: "stored" | "f32"
  readonly onProgress?: (progress: UploadProgress) => void
  readonly signal?: AbortSignal
}

export interface Uploaded {
  readonly weights: ModelWeights
  /** Linear layers of the blocks, by the checkpoint's names without `.weight`. */
  readonly linears: ReadonlyMap<string, Linear>
  /** All weights by the checkpoint's names. */
  readonly variables: ReadonlyMap<string, Tensor | Matrix>
  /** The types that the checkpoint has them in. */
  readonly stored: ReadonlyMap<string, DType>
}

/** Puts the checked weights of a checkpoint on the GPU in their stored types, piece by piece. */
export async function uploadWeights(
  device: Device,
  checkpoint: Checkpoint,
  { dtype = "stored", onProgress, signal }: UploadOptions = {},
): Promise<Uploaded> {
  const total = [...checkpoint.weights.values()].reduce((sum, { info }) => sum + info.end - info.start, 0)
  let loaded = 0
  let ahead = 0
  const tree: Record<string, unknown> = {}
  const linears = new Map<string, Linear>()
  const variables = new Map<string, Tensor | Matrix>()
  const stored = new Map<string, DType>()
  for (const weight of checkpoint.weights.values()) {
    const { info } = weight
    const uploaded = allocate(device, weight, dtype === "f32" ? "f32" : DTYPES[info.dtype]!)
    const widen = dtype === "f32" && info.dtype !== "F32"
    for (const { tensor, start, end } of pieces(uploaded, weight)) {
      for (let at = start; at < end; at += PIECE) {
        signal?.throwIfAborted()
        const stop = Math.min(end, at + PIECE)
        const bytes = await weight.source.slice(at, stop)
        if (widen)
          device.write(
            tensor,
            decodeToFloat32(info.dtype, new Uint8Array(bytes)),
            ((at - start) / DTYPE_BYTES[info.dtype]) * 4,
          )
        else device.write(tensor, new Uint8Array(bytes), at - start)
        loaded += bytes.byteLength
        ahead += bytes.byteLength
        if (ahead >= AHEAD) {
          await device.settle()
          ahead = 0
        }
        onProgress?.({ loaded, total })
      }
    }
    const { field } = weight.spec
    if ("parts" in uploaded && field.startsWith("layers.")) {
      const linear: Linear = { weight: uploaded, adapters: [] }
      place(tree, field.split("."), linear)
      linears.set(info.name.replace(/\.weight$/, ""), linear)
    } else place(tree, field.split("."), uploaded)
    variables.set(info.name, uploaded)
    stored.set(info.name, info.dtype)
  }
  await device.settle()
  return { weights: tree as unknown as ModelWeights, linears, variables, stored }
}

function allocate(device: Device, { spec }: Weight, dtype: Dtype): Tensor | Matrix {
  const [rows, columns] = spec.shape
  if (columns === undefined) return device.tensor("weights", spec.shape, dtype)
  return device.matrix("weights", [rows!, columns], dtype)
}

/** The bytes of the file that fill each tensor. */
function* pieces(uploaded: Tensor | Matrix, { info }: Weight) {
  const tensors = "parts" in uploaded ? uploaded.parts.map((part) => part.tensor) : [uploaded]
  let start = info.start
  for (const tensor of tensors) {
    const end = start + sizeOf(tensor.shape) * DTYPE_BYTES[info.dtype]
    yield { tensor, start, end }
    start = end
  }
}

/** `tree.layers[3].mlp.gate = value` for the path `layers 3 mlp gate`. */
function place(tree: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [key = "", next, ...rest] = path
  if (next === undefined) {
    tree[key] = value
    return
  }
  tree[key] ??= /^\d+$/.test(next) ? [] : {}
  place(tree[key] as Record<string, unknown>, [next, ...rest], value)
}
