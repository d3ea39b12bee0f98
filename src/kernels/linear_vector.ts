import type { Device } from "./device.ts"
import type { Activation } from "./glu.ts"
import { isQuantized } from "./quantize.ts"
import type { Run } from "./run.ts"
import {
  linear_vector,
  linear_vector_q4,
  linear_vector_q4_subgroup,
  linear_vector_q8,
  linear_vector_q8_subgroup,
} from "./shaders.ts"
import { FEW, sharesFew } from "./subgroups.ts"
import type { Tensor } from "./tensor.ts"

/** Rows from which workgroups of 64 invocations are enough of them for several cores. */
const MANY_ROWS = 2048

/** A part of a matrix times tokens: rows of it, and where they go in y. */
export interface Product {
  /** `[T, C]`; int8 where the weight is ternary and x was rounded for it */
  readonly x: Tensor
  /** `[rows, C]` */
  readonly weight: Tensor
  /** `[T, N]`, of which columns `[firstRow, firstRow + rows)` are filled */
  readonly y: Tensor
  readonly firstRow: number
  readonly rows: number
}

/**
 * Records the product of few tokens, in f32, and a part of a matrix. Weights of four and eight bits meet a single token in
 * eight, rounded in blocks of 32 columns; unless a tape records, or x is too long for a workgroup's memory: then they meet it as it
 * is.
 */
export function linearVector(run: Run, { x, weight, y, firstRow: first_row, rows }: Product): void {
  const [T, N] = y.shape as [number, number]
  const C = x.shape.at(-1)!
  if (T === 1 && isQuantized(weight.dtype) && !run.tape && fitsWorkgroup(run.device, C)) {
    roundedVector(run, { x, weight, y }, { first_row, rows }, {})
  } else {
    const { groups, constants } = spread(run.device, Math.ceil(rows / 4))
    const params = { T, C4: C / 4, N, first_row, rows }
    run.dispatch(linear_vector, { x, weight, y }, params, [groups], { ...constants, TOKENS: tokensOf(T) })
  }
}

/**
 * Records `y = act(gate x) * (up x)` for few tokens, the rows of gate and of up lying behind one another in one weight, in
 * one dispatch.
 *
 * @param weight `[2F, C]`, F a multiple of 4
 * @param y      `[T, F]`; T is 1 where the weight is q4 or q8 and meets x in eight bits
 */
export function gatedVector(run: Run, x: Tensor, weight: Tensor, y: Tensor, activation: Activation): void {
  const [T, rows] = y.shape as [number, number]
  const C = x.shape.at(-1)!
  const gated = { GATED: 1, SILU: activation === "silu" ? 1 : 0 }
  if (T === 1 && isQuantized(weight.dtype) && fitsWorkgroup(run.device, C)) {
    roundedVector(run, { x, weight, y }, { first_row: 0, rows }, gated)
  } else {
    const { groups, constants } = spread(run.device, rows / 2)
    const params = { T, C4: C / 4, N: rows, first_row: 0, rows }
    run.dispatch(linear_vector, { x, weight, y }, params, [groups], { ...constants, ...gated, TOKENS: tokensOf(T) })
  }
}

/** The most tokens for linear_vector: a CPU has no registers for more than 4, and tiles, which compile sooner, are as good. */
export function fewTokens({ tuning }: Device): number {
  return tuning.split > 1 ? FEW : 4
}

/** Whether a workgroup can hold a token of C columns in eight bits. */
export function fitsWorkgroup(device: Device, C: number): boolean {
  return (C / 32) * 40 <= device.gpu.limits.maxComputeWorkgroupStorageSize
}

/** The product of a token in eight bits, rounded by each workgroup, of which there are fewer and larger ones where rows are many. */
function roundedVector(
  run: Run,
  buffers: { x: Tensor; weight: Tensor; y: Tensor },
  params: { first_row: number; rows: number },
  gated: { GATED?: number; SILU?: number },
): void {
  const [q4, q8] = sharesFew(run)
    ? [linear_vector_q4_subgroup, linear_vector_q8_subgroup]
    : [linear_vector_q4, linear_vector_q8]
  const C = buffers.x.shape.at(-1)!
  const WORKGROUP = params.rows >= MANY_ROWS ? 64 : 32
  const constants = { ...gated, WORKGROUP, BLOCKS: C / 32, CODES: C / 16 }
  const groups = Math.ceil(params.rows / 4 / WORKGROUP)
  run.dispatch(buffers.weight.dtype === "q4" ? q4 : q8, buffers, params, [groups], constants)
}

/** For how many tokens linear_vector is compiled to take T: every T would be a kernel of its own. */
function tokensOf(T: number): number {
  return T > 4 ? 8 : T > 2 ? 4 : T
}

/** The workgroups for so many times four rows, each shared as the device's tuning says, or by fewer if there would be too many. */
function spread({ gpu, tuning }: Device, fours: number) {
  const most = gpu.limits.maxComputeWorkgroupsPerDimension
  for (let SPLIT: number = tuning.split; ; SPLIT /= 2) {
    const WORKGROUP = SPLIT > 1 ? 64 : 32
    const groups = Math.ceil((fours * SPLIT) / WORKGROUP)
    if (groups <= most || SPLIT === 1) return { groups, constants: { SPLIT, WORKGROUP } }
  }
}
