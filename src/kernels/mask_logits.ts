import type { Run } from "./run.ts"
import { mask_logits as kernel } from "./shaders.ts"
import { expectDtype, expectShape, fold } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/**
 * Logits of which only those of allowed tokens count.
 *
 * @param logits `[1, V]`
 * @param mask   `[ceil(V / 32)]`, u32: bit `v % 32` of word `v / 32` allows token v
 * @returns      `[1, V]`: the logit of an allowed token, -3e38 for the others
 */
export function maskLogits(run: Run, logits: Tensor, mask: Tensor): Tensor {
  const V = logits.shape[1]!
  expectShape("maskLogits", "logits", logits, [1, V])
  expectShape("maskLogits", "mask", mask, [Math.ceil(V / 32)])
  expectDtype("maskLogits", "mask", mask, "u32")
  const masked = run.empty([1, V])
  run.dispatch(kernel, { logits, mask, masked }, { V }, fold(Math.ceil(V / 64)))
  return masked
}
