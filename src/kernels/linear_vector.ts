import type { Device } from "./device.ts"
import type { Activation } from "./glu.ts"
import type { Run } from "./run.ts"
import { linear_vector } from "./shaders.ts"
import { FEW } from "./subgroups.ts"
import type { Tensor } from "./tensor.ts"

/** A part of a matrix times tokens: rows of it, and where they go in y. */
export interface Product {
  /** `[T, C]`; int8 where the weight is ternary and x was rounded for it. Where there is an lse, `[parts, T, H, D]`, C = H * D */
  readonly x: Tensor
  /** `[parts, T, H]`, where x is what attention gives of parts of the keys. */
  readonly lse?: Tensor | undefined
  /** `[rows, C]` */
  readonly weight: Tensor
  /** `[T, N]`, of which columns `[firstRow, firstRow + rows)` are filled */
  readonly y: Tensor
  readonly firstRow: number
  readonly rows: number
}

/** Records the product of few tokens, in f32, and a part of a matrix. */
export function linearVector(run: Run, { x, lse, weight, y, firstRow: first_row, rows }: Product): void {
  const [T, N] = y.shape as [number, number]
  const { groups, constants } = spread(run.device, Math.ceil(rows / 4))
  const [tokens, C4, TOKENS] = [tokensOf(x, lse), weight.shape[1]! / 4, compiledFor(T)]
  const params = { T, C4, N, first_row, rows, ...tokens.params }
  const combine = { ...tokens.constants, HELD: lse ? TOKENS * C4 : 1 }
  run.dispatch(linear_vector, { ...tokens.buffers, weight, y }, params, [groups], { ...constants, ...combine, TOKENS })
}

/**
 * Records `y = act(gate x) * (up x)` for few tokens, the rows of gate and of up lying behind one another in one weight, in
 * one dispatch.
 *
 * @param weight `[2F, C]`, F a multiple of 4
 * @param y      `[T, F]`
 */
export function gatedVector(run: Run, x: Tensor, weight: Tensor, y: Tensor, activation: Activation): void {
  const [T, rows] = y.shape as [number, number]
  const { groups, constants } = spread(run.device, rows / 2)
  const tokens = tokensOf(x)
  const params = { T, C4: x.shape.at(-1)! / 4, N: rows, first_row: 0, rows, ...tokens.params }
  const gated = { ...constants, GATED: 1, SILU: activation === "silu" ? 1 : 0, TOKENS: compiledFor(T) }
  run.dispatch(linear_vector, { ...tokens.buffers, weight, y }, params, [groups], gated)
}

/** How lib/attended.wgsl reads tokens: as they are, or where there is an lse put together of parts. */
export function tokensOf(x: Tensor, lse?: Tensor) {
  const [parts, D] = lse ? [x.shape[0]!, x.shape[3]!] : [1, 4]
  return { buffers: { x, lse: lse ?? x }, params: { parts, D4: D / 4 }, constants: { COMBINE: lse ? 1 : 0 } }
}

/** Whether a workgroup's memory holds so many columns of a token that is put together, beside what else the kernel has in it. */
export function holdsToken({ gpu }: Device, C: number): boolean {
  return 4 * C + 64 * 16 <= gpu.limits.maxComputeWorkgroupStorageSize
}

/** The most tokens for linear_vector: a CPU has no registers for more than 4, and tiles, which compile sooner, are as good. */
export function fewTokens({ tuning }: Device): number {
  return tuning.split > 1 ? FEW : 4
}

/** For how many tokens linear_vector is compiled to take T: every T would be a kernel of its own. */
function compiledFor(T: number): number {
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
