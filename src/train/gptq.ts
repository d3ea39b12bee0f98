import { SIXTEENTHS } from "../model/dtype.ts"
import { expectMatrix } from "./decompose.ts"
import { BLOCK, bestGrid, type Grid, MOST } from "./grid.ts"

/**
 * What is added to the moment's diagonal, in units of its mean, as GPTQ does; ten times as much where rounding has left the moment
 * indefinite.
 */
const DAMPING = 0.01
const MOST_DAMPING = 0.1
/** Rows that are rounded together, so that a factor's rows are read once for all of them. */
const ROWS = 64

/** Rows rounded to four bits: a weight is scale * (code - zero). */
export interface FourBits {
  /** `[rows, C]`, 0 to 15 */
  readonly codes: Uint8Array
  /** `[rows, C / 32]`; the last eight bits of each are 0 */
  readonly scales: Float32Array
  /** `[rows, C / 32]`, in sixteenths */
  readonly zeros: Uint8Array
}

/** How the columns of a weight depend on each other, for inputs of some second moment. */
export interface Feedback {
  /** `[C, C]`: row j, from column j + 1 on, is how much of an error in column j each later column takes over. */
  readonly passed: Float64Array
  /** `[C]`: how much the square of what is left in a column counts. */
  readonly counts: Float64Array
}

/**
 * What `roundToFour` needs of the second moment H of a layer's inputs: `H + damping = M M^T` for an upper triangular M.
 * An error e in column j is made good by adding `e M[j, k] / M[k, k]` to column k > j, and column k then counts `M[k, k]^2`
 * (LDLQ, Chee et al., arXiv:2307.13304, theorem 6: the same updates as GPTQ's by the inverse of H).
 *
 * @param moment `[C, C]`
 * @throws {RangeError} for a matrix that is not the moment of any inputs
 */
export function feedback(moment: Float64Array, C: number): Feedback {
  expectMatrix("gptq: moment", moment, [C, C])
  let trace = 0
  for (let i = 0; i < C; i++) trace += moment[i * (C + 1)]!
  if (trace === 0) return { passed: new Float64Array(C * C), counts: new Float64Array(C).fill(1) }
  for (let share = DAMPING; share <= MOST_DAMPING; share *= 10) {
    const upper = upperFactor(moment, C, (share * trace) / C)
    if (upper) return normed(upper, C)
  }
  throw new RangeError(`gptq: moment of trace ${trace} is indefinite, expected X^T X / n of some inputs X`)
}

/** M of `H + damping = M M^T`, row-major; undefined where that is not positive definite. H is made symmetric. */
function upperFactor(h: Float64Array, C: number, damping: number): Float64Array | undefined {
  const m = new Float64Array(C * C)
  for (let k = C - 1; k >= 0; k--) {
    for (let j = k; j >= 0; j--) {
      const own = (h[j * C + k]! + h[k * C + j]!) / 2 + (j === k ? damping : 0)
      const sum = own - dotBehind(m, j * C, k * C, k + 1, C)
      if (j < k) m[j * C + k] = sum / m[k * C + k]!
      else if (sum > 0) m[k * C + k] = Math.sqrt(sum)
      else return undefined
    }
  }
  return m
}

/** The product of two rows that begin at a and b, from column `from` on: four sums, as each waits for itself. */
function dotBehind(m: Float64Array, a: number, b: number, from: number, C: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0]
  let l = from
  for (; l + 3 < C; l += 4) {
    s0 += m[a + l]! * m[b + l]!
    s1 += m[a + l + 1]! * m[b + l + 1]!
    s2 += m[a + l + 2]! * m[b + l + 2]!
    s3 += m[a + l + 3]! * m[b + l + 3]!
  }
  for (; l < C; l++) s0 += m[a + l]! * m[b + l]!
  return s0 + s1 + s2 + s3
}

function normed(m: Float64Array, C: number): Feedback {
  const counts = Float64Array.from({ length: C }, (_, k) => m[k * (C + 1)]! ** 2)
  for (let j = 0; j < C; j++) for (let k = j; k < C; k++) m[j * C + k] = m[j * C + k]! / Math.sqrt(counts[k]!)
  return { passed: m, counts }
}

/**
 * Rounds rows of a weight to four bits, column by column from the left, each taking over what those before it have lost (GPTQ,
 * Frantar et al., arXiv:2210.17323). When a block begins, its scale and zero are chosen as wgsl/quantize_q4.wgsl chooses them, on
 * the weights as they are by then.
 *
 * @param weight `[rows, C]`
 */
export function roundToFour(weight: Float32Array, inputs: Feedback): FourBits {
  const C = inputs.counts.length
  const rows = weight.length / C
  const result = {
    codes: new Uint8Array(rows * C),
    scales: new Float32Array((rows * C) / BLOCK),
    zeros: new Uint8Array((rows * C) / BLOCK),
  }
  const blocks = Array.from({ length: C / BLOCK }, (_, b) => blockFeedback(inputs, b * BLOCK))
  const errors = new Float64Array(ROWS * BLOCK)
  for (let first = 0; first < rows; first += ROWS) {
    const count = Math.min(ROWS, rows - first)
    const targets = Float64Array.from(weight.subarray(first * C, (first + count) * C))
    for (const [b, block] of blocks.entries()) {
      for (let row = 0; row < count; row++) {
        const [from, to] = [row * C + b * BLOCK, (first + row) * C + b * BLOCK]
        const target = targets.subarray(from, from + BLOCK)
        const grid = bestGrid(target, block.counts)
        result.scales[to / BLOCK] = grid.scale
        result.zeros[to / BLOCK] = grid.sixteenths
        const error = errors.subarray(row * BLOCK, (row + 1) * BLOCK)
        for (let i = 0; i < BLOCK; i++) error[i] = weight[to + i]! - target[i]!
        roundBlock(target, grid, block.passed, result.codes.subarray(to, to + BLOCK), error)
      }
      for (let row = 0; row < count; row++) {
        const error = errors.subarray(row * BLOCK, (row + 1) * BLOCK)
        passOn(targets.subarray(row * C, (row + 1) * C), error, inputs.passed, b * BLOCK)
      }
    }
  }
  return result
}

/** What of the feedback is inside a block: `passed [k, j]` is what column k takes over of column j. */
function blockFeedback({ passed, counts }: Feedback, column: number): Feedback {
  const C = counts.length
  const inside = new Float64Array(BLOCK * BLOCK)
  for (let k = 0; k < BLOCK; k++) {
    for (let j = 0; j < k; j++) inside[k * BLOCK + j] = passed[(column + j) * C + column + k]!
  }
  return { passed: inside, counts: counts.subarray(column, column + BLOCK) }
}

/**
 * Rounds a block, errors being passed on inside it.
 *
 * @param target `[32]`, the weights with what they have taken over of the blocks before
 * @param passed `[32, 32]`, as `blockFeedback` gives it
 * @param codes  `[32]`, to be written
 * @param error  `[32]`, the weights less their targets; on return, less what their codes stand for
 */
function roundBlock(
  target: Float64Array,
  { scale, sixteenths }: Grid,
  passed: Float64Array,
  codes: Uint8Array,
  error: Float64Array,
): void {
  const zero = sixteenths / SIXTEENTHS
  const perUnit = scale === 0 ? 0 : 1 / scale
  for (let k = 0; k < BLOCK; k++) {
    const own = target[k]!
    let wanted = own
    for (let j = 0; j < k; j++) wanted += error[j]! * passed[k * BLOCK + j]!
    const code = Math.min(MOST, Math.max(0, Math.floor(wanted * perUnit + zero + 0.5)))
    codes[k] = code
    error[k] = error[k]! + own - scale * (code - zero)
  }
}

/** Adds to the columns of a row behind a block what they take over of its errors. */
function passOn(target: Float64Array, errors: Float64Array, passed: Float64Array, column: number): void {
  const C = target.length
  for (let i = 0; i < BLOCK; i += 4) {
    const at = (column + i) * C
    const [e0, e1, e2, e3] = [errors[i]!, errors[i + 1]!, errors[i + 2]!, errors[i + 3]!]
    for (let c = column + BLOCK; c < C; c++) {
      const more = e0 * passed[at + c]! + e1 * passed[at + C + c]!
      target[c] = target[c]! + more + e2 * passed[at + 2 * C + c]! + e3 * passed[at + 3 * C + c]!
    }
  }
}
