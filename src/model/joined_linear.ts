import { gatedLinear as gatedProduct } from "../kernels/gated_linear.ts"
import { type Activation, glu } from "../kernels/glu.ts"
import { linear as product } from "../kernels/linear.ts"
import type { Run } from "../kernels/run.ts"
import type { Matrix, Tensor } from "../kernels/tensor.ts"
import { type LinearGroup, linears } from "./linear.ts"

/**
 * What the layers of a group give, in one tensor where nothing tells them apart.
 *
 * @param x `[T, C]`
 * @returns `[T, sum of N]`, or `[T, N]` each
 */
export function joinedLinear(run: Run, x: Tensor, group: LinearGroup): Tensor | Tensor[] {
  const weight = joinedWeight(run, x, group)
  return weight ? product(run, x, weight) : linears(run, x, group)
}

/**
 * A gate and what it gates: `act(gate(x)) * up(x)`.
 *
 * @param x     `[T, C]`
 * @param group gate and up, `[F, C]` each
 * @returns     `[T, F]`
 */
export function gatedLinear(run: Run, x: Tensor, group: LinearGroup, activation: Activation): Tensor {
  const weight = joinedWeight(run, x, group)
  if (weight) return gatedProduct(run, x, weight, activation)
  const [gate, up] = linears(run, x, group) as [Tensor, Tensor]
  return glu(run, gate, up, activation)
}

/**
 * The weights of a group as one. None where something is between them and what they give: a tape, as gradients are taken by
 * layers, adapters or observers; or where all they give is too large for a binding.
 */
function joinedWeight(run: Run, x: Tensor, { layers, joined }: LinearGroup): Matrix | undefined {
  if (run.tape || joined?.kind !== "dense") return undefined
  if (layers.some(({ adapters, observe }) => adapters.length > 0 || observe)) return undefined
  const { matrix } = joined
  return x.shape[0]! * matrix.shape[0] * 4 <= run.device.maxBinding ? matrix : undefined
}
