import { accumulate } from "../kernels/accumulate.ts"
import { globalNorm } from "../kernels/global_norm.ts"
import { productDecay } from "../kernels/product_decay.ts"
import { Run } from "../kernels/run.ts"
import { scale } from "../kernels/scale.ts"
import { Tape } from "../kernels/tape.ts"
import type { Matrix, Tensor } from "../kernels/tensor.ts"
import { type LossInputs, type Objective, sequenceLoss } from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import { differentiated, tensorsOf } from "../model/parameter.ts"
import type { Optimizer } from "./optimizer.ts"
import { partsOf, type Trained } from "./trained.ts"

/** What steps are made of. */
export interface TrainerOptions {
  readonly optimizer: Optimizer
  /** Tokens that go through the model at once. */
  readonly tokens: number
  /** The gradients' global norm is scaled down to it; unlimited without. */
  readonly maxNorm?: number | undefined
  /** Of the products of low-rank layers' factors, as a part of the loss (arXiv:2105.01029); none without. */
  readonly productDecay?: number | undefined
  /** Compute again what each layer needs for its gradients instead of keeping it. */
  readonly recompute?: boolean | undefined
  /** What steps lower; cross-entropy by default. */
  readonly objective?: Objective | undefined
}

/** The way there and back: each trained parameter's gradient is added onto its sum. */
export function recordGradients(
  { device, network }: Model,
  inputs: LossInputs,
  dloss: Tensor,
  trained: readonly Trained[],
  { recompute, objective }: TrainerOptions,
): { run: Run; loss: Tensor } {
  const tape = new Tape()
  const run = new Run(device, tape)
  const loss = run.keep(sequenceLoss(run, network, inputs, { recompute, objective }))
  const variables = trained.map(({ trainable }) => differentiated(trainable.parameter))
  const sums = trained.map(({ gradient }) => gradient)
  tape.gradients(run, loss, dloss, variables, sums)
  return { run, loss }
}

/**
 * The update of each trained parameter by its gradient, and what is derived from them made anew.
 *
 * @param settings what the optimizer has the host write before a step
 */
export function recordUpdate(
  { device, network }: Model,
  settings: Tensor,
  trained: readonly Trained[],
  { optimizer, maxNorm, productDecay }: TrainerOptions,
): { run: Run; norm: Tensor } {
  const run = new Run(device)
  if (productDecay) decayProducts(run, trained, productDecay)
  const parts = trained.flatMap(partsOf)
  const norm = run.keep(globalNorm(run, parts, { maxNorm }))
  for (const part of parts) optimizer.update(run, { ...part, settings, clip: norm })
  network.derive(run)
  return { run, norm }
}

/** Adds the gradients of `decay / 2 * ||u v||^2` to those of each low-rank layer's factors. */
function decayProducts(run: Run, trained: readonly Trained[], decay: number): void {
  const find = (of: string, side: "u" | "v") => {
    return trained.find(({ trainable: { factor } }) => factor?.of === of && factor.side === side)
  }
  for (const u of trained) {
    const { factor, parameter } = u.trainable
    const v = factor?.side === "u" ? find(factor.of, "v") : undefined
    if (!v) continue
    const { du, dv } = productDecay(run, parameter.variable as Matrix, v.trainable.parameter.variable as Matrix)
    accumulate(run, tensorsOf(u.gradient)[0]!, scale(run, du, decay))
    accumulate(run, tensorsOf(v.gradient)[0]!, scale(run, dv, decay))
  }
}
