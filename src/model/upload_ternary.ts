import type { Device } from "../kernels/device.ts"
import { Run, ScratchPool } from "../kernels/run.ts"
import { byteSize, type Matrix, rowsTogether } from "../kernels/tensor.ts"
import { ternarize } from "../kernels/ternarize.ts"
import type { Weight } from "./checkpoint.ts"
import { packedBytes, packingOf, toRows } from "./packed.ts"
import { PIECE, type Read } from "./pieces.ts"

/** Rounds a weight to trits, and waits until that is done. */
export async function makeTernary(device: Device, latent: Matrix, into: Matrix): Promise<void> {
  const run = new Run(device)
  ternarize(run, latent, into)
  const pool = new ScratchPool(device)
  const plan = run.plan(pool)
  plan.submit()
  await device.settle()
  plan.dispose()
  pool.dispose()
}

/** Puts trits from a file where they belong: rows of words, each with the scale behind it. */
export async function uploadTrits(device: Device, weight: Weight, { shape, parts }: Matrix, read: Read): Promise<void> {
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
