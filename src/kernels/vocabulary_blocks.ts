import type { Block } from "./cross_entropy.ts"
import type { Device } from "./device.ts"
import { linear, linearBackwardInput, linearBackwardWeight } from "./linear.ts"
import type { Run } from "./run.ts"
import { type Matrix, rowSlice, type Tensor } from "./tensor.ts"

/** The most bytes of logits that are held at once, and as many of their gradient. */
const LOGITS_BYTES = 16 * 2 ** 20
/** The most rows in a block: dx sums over them one by one, so their number bounds its rounding. */
const BLOCK_ROWS = 4096
/** So many rows of whole words fill 256-byte blocks in any type, and a binding may begin after them. */
const ALIGNED_ROWS = 64

/** Some rows of a head `[V, C]`, and which logits they give. */
export interface VocabularyBlock {
  readonly part: Matrix
  readonly block: Block
}

/** A head in pieces whose logits for T tokens are small, each beginning where a binding may. */
export function vocabularyBlocks(device: Device, head: Matrix, T: number, softcap: number | null): VocabularyBlock[] {
  const fit = Math.floor(Math.min(LOGITS_BYTES, device.maxBinding) / 4 / T)
  const most = Math.max(1, Math.floor(Math.min(fit, BLOCK_ROWS) / ALIGNED_ROWS)) * ALIGNED_ROWS
  return head.parts.flatMap(({ firstRow, rows }) =>
    Array.from({ length: Math.ceil(rows / most) }, (_, i) => {
      const [from, to] = [firstRow + i * most, firstRow + Math.min(rows, (i + 1) * most)]
      return { part: rowsWith(head, from, to).part, block: { first: from, cap: softcap ?? 0 } }
    }),
  )
}

/**
 * Rows `[from, to)` of a matrix, without a copy, and in front of them what it takes to begin where a binding may.
 *
 * @returns the rows, `shift` of them in front
 */
export function rowsWith(
  { shape: [, C], dtype, parts }: Matrix,
  from: number,
  to: number,
): { part: Matrix; shift: number } {
  let shift = 0
  let count = 0
  const pieces = parts.flatMap(({ firstRow, rows, tensor }) => {
    const [first, end] = [Math.max(0, from - firstRow), Math.min(rows, to - firstRow)]
    if (first >= end) return []
    const start = Math.floor(first / ALIGNED_ROWS) * ALIGNED_ROWS
    shift += first - start // only the first piece begins within its part
    const piece = { firstRow: count, rows: end - start, tensor: rowSlice(tensor, start, end) }
    count += piece.rows
    return [piece]
  })
  return { part: { shape: [count, C], dtype, parts: pieces }, shift }
}

/**
 * Gradients of what was computed of `linear(x, weight)` block by block. They come from the logits, which are computed again.
 *
 * @param onto    `[V, C]`, what to add the weight's gradient to in place; a new matrix without
 * @param dlogits records the gradient with respect to a block of logits
 */
export function blocksBackward(
  run: Run,
  x: Tensor,
  weight: Matrix,
  onto: Matrix | undefined,
  blocks: readonly VocabularyBlock[],
  dlogits: (logits: Tensor, block: Block) => Tensor,
): [readonly [x: Tensor, dx: Tensor], readonly [weight: Matrix, dweight: Matrix]] {
  const dweight = onto ?? run.emptyMatrix(weight.shape)
  let dx: Tensor | undefined
  for (const { part, block } of blocks) {
    const d = dlogits(linear(run, x, part), block)
    dx = linearBackwardInput(run, d, part, dx)
    linearBackwardWeight(run, d, x, { dweight, firstRow: block.first, add: onto !== undefined })
  }
  return [
    [x, dx!],
    [weight, dweight],
  ]
}
