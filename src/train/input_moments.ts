import { linearBackwardWeight } from "../kernels/linear.ts"
import { Run, ScratchPool } from "../kernels/run.ts"
import { type Matrix, rowSlice, type Tensor } from "../kernels/tensor.ts"
import { freeInputs, lossInputs, pack, writeInputs } from "../model/loss.ts"
import type { Model } from "../model/model.ts"
import { freeVariable, readValues } from "../model/parameter.ts"
import { internals, type LanguageModel } from "../session.ts"

/**
 * The second moments of what goes into each linear layer, `X^T X / n` over the n tokens of some sequences: `[C, C]` by
 * path, row-major. The head counts as one, by the path of the embedding where that is the head, unless its weight is ternary.
 * Adapters stay as they are.
 *
 * @throws {RangeError} where there is no token
 */
export async function inputMoments(
  lm: LanguageModel,
  sequences: readonly (readonly number[])[],
): Promise<Map<string, Float64Array>> {
  const count = sequences.reduce((sum, { length }) => sum + length, 0)
  if (count === 0) throw new RangeError("inputMoments: sequences have 0 tokens, expected at least 1")
  const { model, acquire } = internals(lm)
  const { device, network } = model
  const release = await acquire()
  const sums = new Map<string, Matrix>()
  const inputs = lossInputs(device, network, Math.max(...sequences.map(({ length }) => length)))
  const pool = new ScratchPool(device)
  try {
    const sumOf = (path: string, C: number) => {
      const sum = device.matrix("training", [C, C], "f32")
      sums.set(path, sum)
      return sum
    }
    for (const [path, layer] of network.linears) {
      const sum = sumOf(path, layer.shape[1])
      layer.observe = (run, x) => addMoment(run, x, sum)
    }
    const head = headPath(model)
    if (head) sumOf(head, model.config.hiddenSize)
    for (const ids of sequences) {
      if (ids.length === 0) continue
      writeInputs(device, inputs, pack([{ ids, labels: ids }], inputs.ids.shape[0]))
      const run = new Run(device)
      const { cursor, passage } = inputs
      const hidden = passage.forward(run, rowSlice(inputs.ids, 0, ids.length), { cursor })
      if (head) addMoment(run, hidden, sums.get(head)!)
      const plan = run.plan(pool)
      plan.submit()
      await device.settle()
      plan.dispose()
    }
    const moments = new Map<string, Float64Array>()
    for (const [path, sum] of sums) {
      moments.set(
        path,
        Float64Array.from(await readValues(device, sum, sum.shape), (value) => value / count),
      )
    }
    return moments
  } finally {
    for (const layer of network.linears.values()) layer.observe = undefined
    for (const sum of sums.values()) freeVariable(device, sum)
    freeInputs(device, inputs)
    pool.dispose()
    release()
  }
}

function addMoment(run: Run, x: Tensor, sum: Matrix): void {
  linearBackwardWeight(run, x, x, { dweight: sum, firstRow: 0, add: true })
}

/** Where the checkpoint has the matrix that logits are made with; undefined where that is ternary, behind a norm. */
function headPath({ config, stored }: Model): string | undefined {
  if (config.modelType === "hgrn_bit") return undefined
  const names = [...stored.keys()].map((name) => name.replace(/\.weight$/, ""))
  return names.find((name) => name.endsWith("lm_head")) ?? names.find((name) => name.endsWith("embed_tokens"))
}
