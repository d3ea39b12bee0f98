import type { Run } from "./run.ts"
import { Tape } from "./tape.ts"
import type { Tensor } from "./tensor.ts"

/**
 * A part of the way whose results are not kept for the backward pass: it records them again (gradient checkpointing, Chen
 * et al., arXiv:1604.06174). Kernels repeat to the bit, so gradients are the same.
 *
 * @param part records the part: x to its output, with no effect beside
 */
export function recompute(run: Run, x: Tensor, part: (x: Tensor) => Tensor): Tensor {
  const { tape } = run
  if (!tape) return part(x)
  // On a tape that nobody asks, so that the same kernels run as when the part is recorded again.
  const y = run.on(new Tape(), () => part(x))
  tape.record(y, (dy) => tape.recompute(run, () => part(x), dy))
  return y
}
