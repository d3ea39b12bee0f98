import type { Plan } from "../kernels/run.ts"
import { Run } from "../kernels/run.ts"
import { Tape, type Variable } from "../kernels/tape.ts"
import { freeInputs, type Labelled, type LossOptions, lossInputs, pack, sequenceLoss, writeInputs } from "./loss.ts"
import type { Model } from "./model.ts"
import { differentiated, type Parameter, readValues, tensorsOf } from "./parameter.ts"

export interface LossAndGradients {
  /** Mean negative log-likelihood of the targets, in nats. */
  readonly loss: number
  /** By the checkpoint's names, row-major, in f32. */
  readonly gradients: Map<string, Float32Array>
}

/**
 * The mean cross-entropy of some sequences' targets, and its gradients. The sequences lie packed behind one another and
 * do not see each other. Needs no cache: keys and values live as long as the step.
 *
 * @param wrt by the names under which the gradients are given
 */
export async function lossAndGradients(
  { device, network, pool }: Model,
  sequences: readonly Labelled[],
  wrt: ReadonlyMap<string, Parameter>,
  options: LossOptions = {},
): Promise<LossAndGradients> {
  const packed = pack(sequences)
  const T = packed.ids.length
  const inputs = lossInputs(device, network, T)
  const dloss = device.tensor("scratch", [T])
  let plan: Plan | undefined
  try {
    writeInputs(device, inputs, packed)
    device.write(dloss, new Float32Array(T).fill(1 / packed.count))
    const tape = new Tape()
    const run = new Run(device, tape)
    const loss = run.keep(sequenceLoss(run, network, inputs, options))
    const variables = [...wrt.values()].map(differentiated)
    const gradients = tape.gradients(run, loss, dloss, variables) as Variable[]
    for (const gradient of gradients) for (const part of tensorsOf(gradient)) run.keep(part)
    plan = run.plan(pool)
    plan.submit()
    const losses = new Float32Array(await device.read(loss))
    const read = new Map<string, Float32Array>()
    for (const [i, [name, { shape }]] of [...wrt].entries()) {
      read.set(name, await readValues(device, gradients[i]!, shape))
    }
    return { loss: losses.reduce((sum, value) => sum + value, 0) / packed.count, gradients: read }
  } finally {
    plan?.dispose()
    freeInputs(device, inputs)
    device.free(dloss.storage.buffer!)
  }
}
