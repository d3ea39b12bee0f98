import type { Device } from "../kernels/device.ts"
import type { Variable } from "../kernels/tape.ts"
import { byteSize, type Dtype, rowSlice, rowsTogether, type Tensor, view } from "../kernels/tensor.ts"

/** Memory for weights `[rows, C]` or `[C]` behind one another: all of it, `[sum of rows, C]`, and each one's part. */
export interface Joined {
  readonly whole: Tensor
  readonly parts: readonly Variable[]
}

/** Where rows may begin that are bound on their own, in bytes. */
const ALIGNMENT = 256

/**
 * Room for weights of one width and type, so that they can be bound as one.
 *
 * @returns undefined where it cannot be: widths differ, all together are too large for a binding, or one would begin where
 *          no binding may
 */
export function roomFor(device: Device, shapes: readonly (readonly number[])[], dtype: Dtype): Joined | undefined {
  const C = shapes[0]!.at(-1)!
  const rows = shapes.map((shape) => (shape.length === 1 ? 1 : shape[0]!))
  const starts = rows.map((_, i) => rows.slice(0, i).reduce((sum, n) => sum + n, 0))
  const total = starts.at(-1)! + rows.at(-1)!
  if (shapes.some((shape) => shape.at(-1) !== C) || byteSize([total, C], dtype) > device.maxBinding) return undefined
  const begins = (start: number) => start % rowsTogether(dtype) === 0 && byteSize([start, C], dtype) % ALIGNMENT === 0
  if (!starts.every(begins)) return undefined
  const whole = device.tensor("weights", [total, C], dtype)
  const parts = shapes.map((shape, i): Variable => {
    const tensor = rowSlice(whole, starts[i]!, starts[i]! + rows[i]!)
    if (shape.length === 1) return view(tensor, shape)
    return { shape: [rows[i]!, C], dtype, parts: [{ firstRow: 0, rows: rows[i]!, tensor }] }
  })
  return { whole, parts }
}
