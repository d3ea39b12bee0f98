import { linear } from "../kernels/linear.ts"
import type { Run } from "../kernels/run.ts"
import { softcap } from "../kernels/softcap.ts"
import type { Tensor } from "../kernels/tensor.ts"
import type { Network } from "./network.ts"

/** Logits `[T, V]` of normed hidden states `[T, C]`. */
export function logits(run: Run, network: Network, hidden: Tensor): Tensor {
  const { x, weight, softcap: cap } = network.head(run, hidden)
  const product = linear(run, x, weight)
  return cap === null ? product : softcap(run, product, cap)
}
