import type { Device } from "../kernels/device.ts"
import { quantize } from "../kernels/quantize.ts"
import { Run, ScratchPool } from "../kernels/run.ts"
import { byteSize, type Dtype, type Matrix, rowsTogether } from "../kernels/tensor.ts"
import type { Checkpoint, Weight } from "./checkpoint.ts"
import { decodeToFloat32 } from "./dtype.ts"
import type { Blocks } from "./gguf/checkpoint.ts"
import { PIECE, type Read } from "./pieces.ts"
import { toRows } from "./quantized_rows.ts"
import { normBefore } from "./weights.ts"

/** What a column counts at least, of what counts most: rows of an embedding are looked up too, before any norm. */
const LEAST = 1e-3

/**
 * Rounds a weight to few bits on the GPU as it is read, a piece after the other, so that it is never there in full. A column
 * counts as the norm before it scales it: its square says how large the input is there, without any data.
 *
 * @param stored the type that the file has it in
 * @param into   `[N, C]`, q4 or q8
 */
export async function uploadQuantized(
  device: Device,
  checkpoint: Checkpoint,
  weight: Weight,
  stored: Dtype,
  into: Matrix,
  read: Read,
): Promise<void> {
  const [N, C] = into.shape
  const rowBytes = byteSize([1, C], stored)
  const most = Math.min(N, Math.max(1, Math.floor(PIECE / rowBytes)))
  const piece = device.tensor("scratch", [most, C], stored)
  const matters = device.tensor("scratch", [C])
  device.write(matters, await squaredNorm(checkpoint, weight, C))
  const pool = new ScratchPool(device)
  for (let firstRow = 0; firstRow < N; firstRow += most) {
    const rows = Math.min(most, N - firstRow)
    const start = weight.info.start + firstRow * rowBytes
    device.write(piece, await read(weight, start, start + rows * rowBytes))
    const run = new Run(device)
    quantize(run, { shape: [N, C], dtype: stored, parts: [{ firstRow, rows, tensor: piece }] }, into, matters)
    const plan = run.plan(pool)
    plan.submit()
    plan.dispose()
  }
  pool.dispose()
  for (const { storage } of [piece, matters]) device.free(storage.buffer!)
}

/** Puts codes from a file where they belong, as they are. */
export async function uploadBlocks(
  device: Device,
  blocks: Blocks,
  { shape, dtype, parts }: Matrix,
  read: Read,
): Promise<void> {
  const [N, C] = shape
  const rowBytes = (blocks.end - blocks.start) / N
  const together = rowsTogether(dtype)
  const step = Math.max(1, Math.floor(PIECE / rowBytes / together)) * together
  for (const { firstRow, rows, tensor } of parts) {
    for (let row = 0; row < rows; row += step) {
      const count = Math.min(step, rows - row)
      const start = blocks.start + (firstRow + row) * rowBytes
      const bytes = await read(blocks, start, start + count * rowBytes)
      device.write(tensor, toRows(blocks.dtype, bytes, C), byteSize([row, C], dtype))
    }
  }
}

/** The squared factors of the norm before a weight, `[C]`; ones where there is none. */
async function squaredNorm(
  { config, weights }: Checkpoint,
  { spec }: Weight,
  C: number,
): Promise<Float32Array<ArrayBuffer>> {
  const norm = weights.get(normBefore(spec.field, config) ?? "")
  if (!norm || config.modelType === "hgrn_bit") return new Float32Array(C).fill(1)
  const { info, source } = norm
  const factors = decodeToFloat32(info.dtype, new Uint8Array(await source.slice(info.start, info.end)))
  const squares = factors.map((factor) => (config.normOffset + factor) ** 2)
  const least = LEAST * squares.reduce((most, square) => Math.max(most, square), 0)
  return squares.map((square) => Math.max(square, least) || 1)
}
