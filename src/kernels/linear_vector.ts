import type { Device } from "./device.ts"
import type { Activation } from "./glu.ts"
import { isQuantized } from "./quantize.ts"
import type { Run } from "./run.ts"
import { linear_vector, linear_vector_q4, linear_vector_q8, ternary_linear_vector } from "./shaders.ts"
import type { Tensor } from "./tensor.ts"

/** Rows of a workgroup: 32 invocations of 4 rows, or of 8 where they are ternary. */
const ROWS = 128
export const TERNARY_ROWS = 256

/** A part of a matrix times one token: rows of it, and where they go in y. */
export interface VectorProduct {
  /** `[1, C]`; int8 where the weight is ternary and x was rounded for it */
  readonly x: Tensor
  /** `[rows, C]` */
  readonly weight: Tensor
  /** `[1, N]` */
  readonly y: Tensor
  readonly firstRow: number
  readonly rows: number
}

/**
 * Records the product of a token and a part of a matrix. Weights of four and eight bits meet x in eight, rounded in blocks of 32
 * columns; unless a tape records, or x is too long for a workgroup's memory: then they meet it as it is.
 */
export function linearVector(run: Run, { x, weight, y, firstRow: first_row, rows }: VectorProduct): void {
  const C4 = x.shape.at(-1)! / 4
  if (x.dtype === "int8") {
    const groups = Math.ceil(rows / TERNARY_ROWS)
    run.dispatch(ternary_linear_vector, { x, x4: x, weight, y }, { C4, first_row, rows }, [groups])
  } else if (isQuantized(weight.dtype) && !run.tape && fitsWorkgroup(run.device, 4 * C4)) {
    const kernel = weight.dtype === "q4" ? linear_vector_q4 : linear_vector_q8
    run.dispatch(kernel, { x, weight, y }, { first_row, rows }, [Math.ceil(rows / ROWS)], blocksOf(4 * C4))
  } else {
    run.dispatch(linear_vector, { x, weight, y }, { C4, first_row, rows }, [Math.ceil(rows / ROWS)])
  }
}

/**
 * Records `y = act(gate x) * (up x)` for a token, the rows of gate and of up lying behind one another in a weight of four or eight
 * bits.
 *
 * @param weight `[2F, C]`, q4 or q8; F a multiple of 4
 * @param y      `[1, F]`
 */
export function gatedVector(run: Run, x: Tensor, weight: Tensor, y: Tensor, activation: Activation): void {
  const [rows, C] = [y.shape.at(-1)!, x.shape.at(-1)!]
  const kernel = weight.dtype === "q4" ? linear_vector_q4 : linear_vector_q8
  const constants = { ...blocksOf(C), GATED: 1, SILU: activation === "silu" ? 1 : 0 }
  run.dispatch(kernel, { x, weight, y }, { first_row: 0, rows }, [Math.ceil(rows / ROWS)], constants)
}

/** Whether a workgroup can hold a token of C columns in eight bits. */
export function fitsWorkgroup(device: Device, C: number): boolean {
  return (C / 32) * 40 <= device.gpu.limits.maxComputeWorkgroupStorageSize
}

function blocksOf(C: number) {
  return { BLOCKS: C / 32, CODES: C / 16 }
}
