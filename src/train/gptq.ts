import { expectMatrix } from "./decompose.ts"

/** Columns that share a scale and a zero. */
const BLOCK = 32
/** The greatest code. */
const MOST = 15
/** Steps that are tried for a block: from its range by 15 down to STEPS - 1 times SHRINK less of it. */
const STEPS = 8
const SHRINK = 0.04
/**
 * What is added to the moment's diagonal, in units of its mean, as GPTQ does; ten times as much, and again, where the rest is
 * indefinite.
 */
const DAMPING = 0.01
const MOST_DAMPING = 1
/** Rows that are rounded together, so that a factor's rows are read once for all of them. */
const ROWS = 64

/** Rows rounded to four bits: a weight is scale * (code - zero). */
export interface FourBits {
  /** `[rows, C]`, 0 to 15 */
  readonly codes: Uint8Array
  /** `[rows, C / 32]`; the last four bits of each are 0 */
  readonly scales: Float32Array
  /** `[rows, C / 32]`, 0 to 15 */
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
      let sum = (h[j * C + k]! + h[k * C + j]!) / 2 + (j === k ? damping : 0)
      for (let l = k + 1; l < C; l++) sum -= m[j * C + l]! * m[k * C + l]!
      if (j < k) m[j * C + k] = sum / m[k * C + k]!
      else if (sum > 0) m[k * C + k] = Math.sqrt(sum)
      else return undefined
    }
  }
  return m
}

function normed(m: Float64Array, C: number): Feedback {
  const counts = Float64Array.from({ length: C }, (_, k) => m[k * (C + 1)]! ** 2)
  for (let j = 0; j < C; j++) for (let k = j; k < C; k++) m[j * C + k] = m[j * C + k]! / Math.sqrt(counts[k]!)
  return { passed: m, counts }
}

/**
 * Rounds rows of a weight to four bits, column by column from the left, each taking over what those before it have lost (GPTQ,
 * Frantar et al., arXiv:2210.17323). When a block begins, its scale and zero are chosen as src/kernels/quantize.ts chooses them,
 * on the weights as they are by then; of the steps that it tries, the one is taken whose codes leave the least in the block when
 * errors are passed on inside it.
 *
 * @param weight `[rows, C]`
 */
export function roundToFour(weight: Float32Array, { passed, counts }: Feedback): FourBits {
  const C = counts.length
  const rows = weight.length / C
  const result = {
    codes: new Uint8Array(rows * C),
    scales: new Float32Array((rows * C) / BLOCK),
    zeros: new Uint8Array((rows * C) / BLOCK),
  }
  const best = new BlockSearch(passed, counts)
  const errors = new Float64Array(ROWS * BLOCK)
  for (let first = 0; first < rows; first += ROWS) {
    const count = Math.min(ROWS, rows - first)
    const original = weight.subarray(first * C, (first + count) * C)
    const work = Float64Array.from(original)
    for (let column = 0; column < C; column += BLOCK) {
      for (let row = 0; row < count; row++) {
        const at = row * C + column
        const { codes, scale, zero, error } = best.of(work, original, at, column)
        result.codes.set(codes, first * C + at)
        result.scales[(first * C + at) / BLOCK] = scale
        result.zeros[(first * C + at) / BLOCK] = zero
        errors.set(error, row * BLOCK)
      }
      for (let row = 0; row < count; row++) passOn(work, row * C, errors, row * BLOCK, passed, column, C)
    }
  }
  return result
}

/** Adds to the columns behind a block of a row what they take over of its errors. */
function passOn(
  work: Float64Array,
  row: number,
  errors: Float64Array,
  from: number,
  passed: Float64Array,
  column: number,
  C: number,
): void {
  for (let i = 0; i < BLOCK; i += 4) {
    const at = (column + i) * C
    const [e0, e1, e2, e3] = [errors[from + i]!, errors[from + i + 1]!, errors[from + i + 2]!, errors[from + i + 3]!]
    for (let c = column + BLOCK; c < C; c++) {
      work[row + c] =
        work[row + c]! +
        e0 * passed[at + c]! +
        e1 * passed[at + C + c]! +
        e2 * passed[at + 2 * C + c]! +
        e3 * passed[at + 3 * C + c]!
    }
  }
}

/** A block's codes with the scale and zero they are for, and what is lost of the weights as they were at first. */
class BlockSearch {
  codes = new Uint8Array(BLOCK)
  error = new Float64Array(BLOCK)
  scale = 0
  zero = 0
  #tried = { codes: new Uint8Array(BLOCK), error: new Float64Array(BLOCK) }
  readonly #passed: Float64Array
  readonly #counts: Float64Array
  readonly #C: number
  readonly #word = new Uint32Array(1)
  readonly #float = new Float32Array(this.#word.buffer)

  constructor(passed: Float64Array, counts: Float64Array) {
    this.#passed = passed
    this.#counts = counts
    this.#C = counts.length
  }

  /** The block at `at` of some rows, whose columns are those of the weight from `column` on. Valid until the next. */
  of(work: Float64Array, original: Float32Array, at: number, column: number): this {
    let [low, high] = [0, 0]
    for (let i = 0; i < BLOCK; i++) {
      low = Math.min(low, work[at + i]!)
      high = Math.max(high, work[at + i]!)
    }
    this.scale = 0
    this.zero = 0
    let least = this.#round(work, original, at, column, 0, 0, Number.POSITIVE_INFINITY)
    this.#take()
    if (!(high > low)) return this
    const between = Math.floor((MOST * -low) / (high - low))
    for (let i = 0; i < 2 * STEPS; i++) {
      const zero = Math.min(MOST, between + (i & 1))
      const step = ((1 - SHRINK * (i >> 1)) * (high - low)) / MOST
      const scale = this.#fit(work, at, column, step, zero)
      const left = this.#round(work, original, at, column, scale, zero, least)
      if (!(left < least)) continue
      least = left
      this.scale = scale
      this.zero = zero
      this.#take()
    }
    return this
  }

  #take(): void {
    const { codes, error } = this
    this.codes = this.#tried.codes
    this.error = this.#tried.error
    this.#tried = { codes, error }
  }

  /** The scale that fits the codes of a step best, without its last four bits. */
  #fit(work: Float64Array, at: number, column: number, step: number, zero: number): number {
    let [wu, uu] = [0, 0]
    for (let i = 0; i < BLOCK; i++) {
      const w = work[at + i]!
      const u = Math.min(MOST - zero, Math.max(-zero, Math.round(w / step)))
      const count = this.#counts[column + i]!
      wu += count * w * u
      uu += count * u * u
    }
    this.#float[0] = uu > 0 ? wu / uu : 0
    this.#word[0] = this.#word[0]! & ~15
    return this.#float[0]!
  }

  /** Rounds the block, errors being passed on inside it. @returns what is left; more than `most` where it is that much */
  #round(
    work: Float64Array,
    original: Float32Array,
    at: number,
    column: number,
    scale: number,
    zero: number,
    most: number,
  ): number {
    const { codes, error } = this.#tried
    const perUnit = scale === 0 ? 0 : 1 / scale
    let left = 0
    for (let k = 0; k < BLOCK; k++) {
      let target = work[at + k]!
      for (let j = 0, from = column * this.#C + column + k; j < k; j++, from += this.#C) {
        target += error[j]! * this.#passed[from]!
      }
      const code = Math.min(MOST, Math.max(0, Math.round(target * perUnit) + zero))
      const value = scale * (code - zero)
      codes[k] = code
      error[k] = original[at + k]! - value
      left += this.#counts[column + k]! * (target - value) ** 2
      if (left > most) return left
    }
    return left
  }
}
