import type { Device } from "./device.ts"
import type { Run } from "./run.ts"
import { rope as kernel } from "./shaders.ts"
import { expectShape, heads } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/** Positions whose angles a table has row by row: those of the others are sums of one of these and a multiple of 256. */
const FINE = 256

/** The shape of a table for positions below `positions`. */
export function ropeTableShape(headDim: number, positions: number): readonly number[] {
  return [FINE + Math.ceil(positions / FINE), headDim / 2, 2]
}

/**
 * Cosines and sines of a rotary embedding for positions below `positions`, as rope() wants them: of the angles
 * `position / factor * theta^(-2j / D)` (Su et al., arXiv:2104.09864; linear scaling: Chen et al., arXiv:2306.15595), computed
 * in float64.
 *
 * @returns `[256 + ceil(positions / 256), D/2, 2]`: of the positions 0 to 255, then of 0, 256, 512, ...
 */
export function ropeTables(
  device: Device,
  { headDim, theta, factor }: { headDim: number; theta: number; factor: number },
  positions: number,
): Tensor {
  const half = headDim / 2
  const table = device.tensor("scratch", ropeTableShape(headDim, positions))
  const rows = table.shape[0]!
  const values = new Float32Array(rows * half * 2)
  for (let row = 0; row < rows; row++) {
    const position = row < FINE ? row : (row - FINE) * FINE
    for (let j = 0; j < half; j++) {
      const angle = (position / factor) * theta ** ((-2 * j) / headDim)
      values[(row * half + j) * 2] = Math.cos(angle)
      values[(row * half + j) * 2 + 1] = Math.sin(angle)
    }
  }
  device.write(table, values)
  return table
}

/** Refuses a table of another head's width. */
export function expectTable(op: string, table: Tensor, D: number): void {
  expectShape(op, "table", table, [table.shape[0]!, D / 2, 2])
}

/**
 * Rotates each head's pairs `(j, j + D/2)` by the angle of its token's position, `cursor[0] + t`.
 *
 * @param x      `[T, H, D]`
 * @param table  as `ropeTables` gives it
 * @param cursor `[2]`, u32
 * @returns      `[T, H, D]`
 */
export function rope(run: Run, x: Tensor, table: Tensor, cursor: Tensor): Tensor {
  const y = turn("rope", run, x, table, cursor, 1)
  run.tape?.record(y, (dy) => [[x, ropeBackward(run, dy, table, cursor)]])
  return y
}

/**
 * Gradient of `rope`: turns each pair back by its angle, `dx1 = dy1 cos + dy2 sin`, `dx2 = dy2 cos - dy1 sin`.
 *
 * @param dy     `[T, H, D]`
 * @param table  as it was for `rope`
 * @param cursor `[2]`, u32, as it was for `rope`
 * @returns      `[T, H, D]`
 */
export function ropeBackward(run: Run, dy: Tensor, table: Tensor, cursor: Tensor): Tensor {
  return turn("ropeBackward", run, dy, table, cursor, -1)
}

function turn(op: string, run: Run, x: Tensor, table: Tensor, cursor: Tensor, direction: 1 | -1): Tensor {
  const [T, H, D] = heads(op, "x", x)
  const half = D / 2
  const y = run.empty([T, H, D])
  expectTable(op, table, D)
  run.dispatch(kernel, { x, table, cursor, y }, { H, half, direction }, [Math.ceil((H * half) / 64), T])
  return y
}
