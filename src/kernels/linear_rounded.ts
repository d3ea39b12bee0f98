import type { Device } from "./device.ts"
import type { Activation } from "./glu.ts"
import { type Product, tokensOf } from "./linear_vector.ts"
import { isQuantized } from "./quantize.ts"
import type { Run } from "./run.ts"
import { linear_vector_q4, linear_vector_q4_subgroup, linear_vector_q8, linear_vector_q8_subgroup } from "./shaders.ts"
import { sharesFew } from "./subgroups.ts"
import type { Tensor } from "./tensor.ts"

/** The most tokens that are rounded: of more, which are the pieces of prompts, nothing is lost. */
const MOST = 16

/** The most tokens that one dispatch takes at once, as invocations have no registers for more: others read the weights again. */
const AT_ONCE = 8

/** Rows from which workgroups of 64 invocations are enough of them for several cores. */
const MANY_ROWS = 2048

/**
 * Whether tokens meet a weight in eight bits, rounded in blocks of 32 columns: up to 16 do where it is q4 or q8, unless the run is
 * exact or has a tape, or a workgroup's memory is too small for one of them.
 *
 * @param shape  `[T, C]`, the tokens'
 */
export function roundsTokens(run: Run, [T, C]: readonly [number, number], weight: Tensor): boolean {
  return T <= MOST && isQuantized(weight.dtype) && !run.exact && !run.tape && tokensThatFit(run.device, C) > 0
}

/**
 * Records the product of tokens, rounded to eight bits, and a part of a matrix in q4 or q8. What comes of a token is to the bit the
 * same whatever there is beside it.
 */
export function linearRounded(run: Run, { firstRow: first_row, rows, ...tensors }: Product): void {
  record(run, tensors, { first_row, rows }, {})
}

/**
 * Records `y = act(gate x) * (up x)` for a token rounded to eight bits, the rows of gate and of up lying behind one another in one
 * weight in q4 or q8, in one dispatch.
 *
 * @param weight `[2F, C]`, F a multiple of 4
 * @param y      `[1, F]`
 */
export function gatedRounded(run: Run, x: Tensor, weight: Tensor, y: Tensor, activation: Activation): void {
  record(run, { x, weight, y }, { first_row: 0, rows: y.shape[1]! }, { GATED: 1, SILU: activation === "silu" ? 1 : 0 })
}

/** How many tokens of C columns a workgroup can hold in eight bits: each takes 40 bytes a block of 32. */
export function tokensThatFit({ gpu }: Device, C: number): number {
  return Math.floor(gpu.limits.maxComputeWorkgroupStorageSize / ((C / 32) * 40))
}

/** Tokens are rounded by each workgroup for itself; of these there are fewer and larger ones where rows are many. */
function record(
  run: Run,
  { x, lse, weight, y }: Pick<Product, "x" | "lse" | "weight" | "y">,
  part: { first_row: number; rows: number },
  gated: { GATED?: number; SILU?: number },
): void {
  const [q4, q8] = sharesFew(run)
    ? [linear_vector_q4_subgroup, linear_vector_q8_subgroup]
    : [linear_vector_q4, linear_vector_q8]
  const [T, N] = y.shape as [number, number]
  const C = weight.shape[1]!
  const TOKENS = atOnce(T, tokensThatFit(run.device, C))
  const WORKGROUP = part.rows >= MANY_ROWS ? 64 : 32
  const groups = [Math.ceil(part.rows / 4 / WORKGROUP), Math.ceil(T / TOKENS)] as const
  const tokens = tokensOf(x, lse)
  const params = { T, N, ...part, ...tokens.params }
  const constants = { ...gated, ...tokens.constants, WORKGROUP, TOKENS, BLOCKS: C / 32 }
  run.dispatch(weight.dtype === "q4" ? q4 : q8, { ...tokens.buffers, weight, y }, params, groups, constants)
}

/** A power of two from 1 to 8: no more than fit, and no more than hold T. */
function atOnce(T: number, fit: number): number {
  let tokens = 1
  while (tokens < Math.min(T, AT_ONCE) && 2 * tokens <= fit) tokens *= 2
  return tokens
}
