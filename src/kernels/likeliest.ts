import type { Device } from "./device.ts"
import type { Run } from "./run.ts"
import { rowsOf, type SampleState } from "./sample.ts"
import { likeliest as join, likeliest_parts } from "./shaders.ts"
import type { Tensor } from "./tensor.ts"

/** The most tokens that a row of output names beside the drawn one. */
export const MAX_LIKELIEST = 20
/** Rows of output: the steps after which it must have been read. */
export const LIKELIEST_ROWS = 16
/** Tokens that one workgroup looks at. */
const STRETCH = 4096
const ROW = 1 + 2 * MAX_LIKELIEST

/** What likeliest() keeps on the GPU from step to step, for each of B sequences. */
export interface LikeliestState {
  /** `[B]`, u32: how many tokens are asked for. */
  readonly count: Tensor
  /** `[B, LIKELIEST_ROWS, 1 + 2 * MAX_LIKELIEST]`, u32: for each a ring with a row per step. */
  readonly output: Tensor
}

/** A token and its natural log-probability. */
export interface LogProbability {
  readonly token: number
  readonly logprob: number
}

/** How probable a drawn token was, and what else was. */
export interface TokenLogProbability extends LogProbability {
  /** The most probable tokens, falling; among equals the lower id first. */
  readonly top: readonly LogProbability[]
}

/** @param sequences B */
export function likeliestState(device: Device, sequences = 1): LikeliestState {
  return {
    count: device.tensor("scratch", [sequences], "u32"),
    output: device.tensor("scratch", [sequences, LIKELIEST_ROWS, ROW], "u32"),
  }
}

/**
 * Writes for each row the log-probability of the token that `sample` has just drawn there, and the `state.count` likeliest tokens
 * with theirs, under the softmax of the logits as they are: no temperature, penalty or filter. Rows at NO_POSITION tell nothing.
 *
 * @param logits `[n, V]`, n at most the states' B
 */
export function likeliest(run: Run, logits: Tensor, { ids: token, cursor }: SampleState, state: LikeliestState): void {
  const { count, output } = state
  const [n, V] = rowsOf("likeliest", logits, { ids: count })
  const P = Math.ceil(V / STRETCH)
  const [values, ids] = [run.empty([n, P, MAX_LIKELIEST]), run.empty([n, P, MAX_LIKELIEST], "u32")]
  const sums = run.empty([n, P, 2])
  run.dispatch(likeliest_parts, { logits, cursor, count, values, ids, sums }, { V, P, stretch: STRETCH }, [P, n])
  run.dispatch(join, { logits, token, cursor, count, values, ids, sums, output }, { V, P }, [n])
}

/**
 * Reads what likeliest() wrote of one step.
 *
 * @param output the sequence's part of the state's, read back
 * @param step   which, from 0: among the last LIKELIEST_ROWS
 */
export function readLikeliest(output: DataView, step: number, token: number, count: number): TokenLogProbability {
  const at = (step % LIKELIEST_ROWS) * ROW * 4
  const top = Array.from({ length: count }, (_, k) => ({
    token: output.getUint32(at + 4 + 8 * k, true),
    logprob: output.getFloat32(at + 8 + 8 * k, true),
  }))
  // A slot is empty where the vocabulary is smaller than what was asked for, or the logits are NaN.
  const known = top.filter((each) => each.token < NONE && !Number.isNaN(each.logprob))
  return { token, logprob: output.getFloat32(at, true), top: known }
}

const NONE = 0xffffffff
