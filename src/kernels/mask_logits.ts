import type { Run } from "./run.ts"
import { mask_logits as kernel } from "./shaders.ts"
import { expectDtype, fold } from "./shape.ts"
import { format, type Tensor } from "./tensor.ts"

/**
 * Logits of which only those of allowed tokens count, row by row.
 *
 * @param logits `[n, V]`
 * @param mask   `[B, ceil(V / 32)]`, u32, B at least n: bit `v % 32` of word `v / 32` of row b allows token v in row b
 * @returns      `[n, V]`: the logit of an allowed token, -3e38 for the others
 */
export function maskLogits(run: Run, logits: Tensor, mask: Tensor): Tensor {
  const [n, V] = sizes("logits", logits)
  const [B, words] = sizes("mask", mask)
  if (B < n || words !== Math.ceil(V / 32)) {
    throw new RangeError(`maskLogits: mask is [${B}, ${words}], expected at least ${n} rows of ${Math.ceil(V / 32)}`)
  }
  expectDtype("maskLogits", "mask", mask, "u32")
  const masked = run.empty([n, V])
  run.dispatch(kernel, { logits, mask, masked }, { V }, [...fold(Math.ceil(V / 64)), n])
  return masked
}

function sizes(name: string, { shape }: Tensor): [rows: number, columns: number] {
  const [rows, columns] = shape
  if (shape.length === 2) return [rows!, columns!]
  throw new RangeError(`maskLogits: ${name} is ${format(shape)}, expected two dimensions`)
}
