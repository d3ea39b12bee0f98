import { type Block, crossEntropyBackward, crossEntropyBlock, type Scores } from "./cross_entropy.ts"
import type { Device } from "./device.ts"
import { linear, linearBackwardInput, linearBackwardWeight } from "./linear.ts"
import type { Run } from "./run.ts"
import { expectDtype, expectShape, rows } from "./shape.ts"
import { type Matrix, rowSlice, type Tensor } from "./tensor.ts"

export { IGNORED } from "./cross_entropy.ts"

/** The most bytes of logits that are held at once, and as many of their gradient. */
const LOGITS_BYTES = 16 * 2 ** 20
/** The most rows in a block: dx sums over them one by one, so their number bounds its rounding. */
const BLOCK_ROWS = 4096

export interface LinearCrossEntropyOptions {
  /** Logits become `softcap * tanh(logits / softcap)` (Gemma 2, arXiv:2408.00118, section 2). */
  readonly softcap: number | null
}

/**
 * `crossEntropy(softcap(linear(x, weight)), targets)` without ever holding `[T, V]`: over one block of the vocabulary after
 * the other, each of which backward computes again (as in Cut Cross-Entropy, arXiv:2411.09009).
 *
 * @param x       `[T, C]`
 * @param weight  `[V, C]`
 * @param targets `[T]`, u32, each below V or `IGNORED`
 * @returns       `[T]`
 */
export function linearCrossEntropy(
  run: Run,
  x: Tensor,
  weight: Matrix,
  targets: Tensor,
  { softcap }: LinearCrossEntropyOptions,
): Tensor {
  const [T, C] = rows("linearCrossEntropy", "x", x)
  const [V] = weight.shape
  expectShape("linearCrossEntropy", "weight", weight, [V, C])
  expectShape("linearCrossEntropy", "targets", targets, [T])
  expectDtype("linearCrossEntropy", "targets", targets, "u32")
  const blocks = split(run.device, weight, T, softcap ?? 0)
  let scores: Scores | undefined
  for (const { part, block } of blocks) {
    scores = crossEntropyBlock(run, linear(run, x, part), targets, block, scores)
  }
  const { softmax, loss } = scores!
  run.tape?.record(loss, (dloss, sums) => {
    const sum = sums(weight)
    const dweight = sum ?? run.emptyMatrix([V, C])
    let dx: Tensor | undefined
    for (const { part, block } of blocks) {
      const dlogits = crossEntropyBackward(run, linear(run, x, part), targets, softmax, dloss, block)
      dx = linearBackwardInput(run, dlogits, part, dx)
      linearBackwardWeight(run, dlogits, x, { dweight, firstRow: block.first, add: sum !== undefined })
    }
    return [
      [x, dx!],
      [weight, dweight],
    ]
  })
  return loss
}

/** A matrix in pieces whose logits for T tokens are small, each beginning where a binding may. */
function split(
  device: Device,
  { shape, dtype, parts }: Matrix,
  T: number,
  cap: number,
): { part: Matrix; block: Block }[] {
  const fit = Math.floor(Math.min(LOGITS_BYTES, device.maxBinding) / 4 / T)
  // 32 rows of whole vec4s fill 256-byte blocks in any type.
  const most = Math.max(1, Math.floor(Math.min(fit, BLOCK_ROWS) / 32)) * 32
  return parts.flatMap(({ firstRow, rows, tensor }) =>
    Array.from({ length: Math.ceil(rows / most) }, (_, i) => {
      const [from, to] = [i * most, Math.min(rows, (i + 1) * most)]
      const piece = { firstRow: 0, rows: to - from, tensor: rowSlice(tensor, from, to) }
      const part: Matrix = { shape: [to - from, shape[1]], dtype, parts: [piece] }
      return { part, block: { first: firstRow + from, cap } }
    }),
  )
}
