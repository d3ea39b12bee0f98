import type { Device } from "./device.ts"
import type { Run } from "./run.ts"
import { rope as kernel } from "./shaders.ts"
import { expectShape, heads } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/** Cosines and sines of a rotary embedding for positions below `positions`, as rope() wants them. */
export interface RopeTables {
  /** `[ceil(positions / 256), D/2, 2]`: angles of the positions 0, 256, 512, ... */
  readonly coarse: Tensor
  /** `[256, D/2, 2]`: angles of the positions 0 to 255. */
  readonly fine: Tensor
}

/**
 * Tables for angles `position / factor * theta^(-2j / D)` (Su et al., arXiv:2104.09864; linear scaling: Chen et al.,
 * arXiv:2306.15595), computed in float64.
 */
export function ropeTables(
  device: Device,
  { headDim, theta, factor }: { headDim: number; theta: number; factor: number },
  positions: number,
): RopeTables {
  const half = headDim / 2
  const table = (count: number, stride: number): Tensor => {
    const values = new Float32Array(count * half * 2)
    for (let row = 0; row < count; row++) {
      for (let j = 0; j < half; j++) {
        const angle = ((row * stride) / factor) * theta ** ((-2 * j) / headDim)
        values[(row * half + j) * 2] = Math.cos(angle)
        values[(row * half + j) * 2 + 1] = Math.sin(angle)
      }
    }
    const tensor = device.tensor("scratch", [count, half, 2])
    device.write(tensor, values)
    return tensor
  }
  return { coarse: table(Math.ceil(positions / 256), 256), fine: table(256, 1) }
}

/**
 * Rotates each head's pairs `(j, j + D/2)` by the angle of its token's position, `cursor[0] + t`.
 *
 * @param x      `[T, H, D]`
 * @param cursor `[2]`, u32
 * @returns      `[T, H, D]`
 */
export function rope(run: Run, x: Tensor, tables: RopeTables, cursor: Tensor): Tensor {
  const y = turn("rope", run, x, tables, cursor, 1)
  run.tape?.record(y, (dy) => [[x, ropeBackward(run, dy, tables, cursor)]])
  return y
}

/**
 * Gradient of `rope`: turns each pair back by its angle, `dx1 = dy1 cos + dy2 sin`, `dx2 = dy2 cos - dy1 sin`.
 *
 * @param dy     `[T, H, D]`
 * @param cursor `[2]`, u32, as it was for `rope`
 * @returns      `[T, H, D]`
 */
export function ropeBackward(run: Run, dy: Tensor, tables: RopeTables, cursor: Tensor): Tensor {
  return turn("ropeBackward", run, dy, tables, cursor, -1)
}

function turn(op: string, run: Run, x: Tensor, tables: RopeTables, cursor: Tensor, direction: 1 | -1): Tensor {
  const [T, H, D] = heads(op, "x", x)
  const half = D / 2
  const y = run.empty([T, H, D])
  const { coarse, fine } = tables
  expectShape(op, "coarse", coarse, [coarse.shape[0]!, half, 2])
  expectShape(op, "fine", fine, [256, half, 2])
  run.dispatch(kernel, { x, coarse, fine, cursor, y }, { H, half, direction }, [Math.ceil((H * half) / 64), T])
  return y
}
