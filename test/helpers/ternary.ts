import type { Device } from "../../src/kernels/device.ts"
import type { Matrix, Tensor } from "../../src/kernels/tensor.ts"
import { inFours, ternaryRow } from "../reference/ternary.ts"
import { random } from "./kernels.ts"

/** A ternary matrix, and the numbers that it stands for. */
export interface Trits {
  readonly trits: Int8Array<ArrayBuffer>
  readonly scale: number
  readonly values: Float64Array
}

/** n random trits of a scale. */
export function trits(n: number, seed: number, scale = 0.0371): Trits {
  const next = random(seed)
  const all = Int8Array.from({ length: n }, () => Math.floor(next() * 3) - 1)
  const stored = Math.fround(scale)
  return { trits: all, scale: stored, values: Float64Array.from(all, (trit) => trit * stored) }
}

/** Uploads a ternary matrix, in parts of at most `most` rows, a multiple of four where there are several. */
export function ternaryMatrix(
  device: Device,
  [N, C]: readonly [number, number],
  { trits, scale }: Trits,
  most = N,
): Matrix {
  const parts = Array.from({ length: Math.ceil(N / most) }, (_, p) => {
    const rows = Math.min(most, N - p * most)
    const tensor = device.tensor("weights", [rows, C], "ternary")
    const memory = Array.from({ length: rows }, (_, n) => {
      const row = (p * most + n) * C
      return ternaryRow(trits.subarray(row, row + C), scale)
    })
    device.write(tensor, inFours(memory))
    return { firstRow: p * most, rows, tensor }
  })
  return { shape: [N, C], dtype: "ternary", parts }
}

/** Uploads codes as an int8 tensor, a scale for each row. */
export function int8Tensor(
  device: Device,
  [T, C]: readonly [number, number],
  codes: Int8Array,
  scales: number[],
): Tensor {
  const x = device.tensor("weights", [T, C], "int8")
  for (let t = 0; t < T; t++) {
    const row = codes.slice(t * C, (t + 1) * C)
    const behind = new DataView(new ArrayBuffer(8))
    behind.setFloat32(0, scales[t]!, true)
    behind.setInt32(
      4,
      row.reduce((sum, code) => sum + code, 0),
      true,
    )
    device.write(x, row, t * (C + 16))
    device.write(x, behind, t * (C + 16) + C)
  }
  return x
}
