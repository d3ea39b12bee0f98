import type { Model } from "../model/model.ts"
import type { Trainable } from "./trained.ts"

/**
 * Every weight; decay leaves norms out, and with a decay of products their factors too. HGRN's lower bounds decay as any matrix
 * does: where all are 0 the bounds rise evenly from layer to layer, and there they begin.
 *
 * @throws {TypeError} naming a weight that is not in f32
 */
export function allWeights(model: Model, productDecay: number): Trainable[] {
  const fail = (name: string, dtype: string) =>
    new TypeError(`tune: ${name} is ${dtype}, expected f32 to train all weights (load with dtype f32)`)
  for (const [name, { dtype }] of model.packed) throw fail(name, dtype)
  const lowRank = new Set(
    [...model.network.linears].flatMap(([path, { weight }]) => (weight.kind === "low-rank" ? [path] : [])),
  )
  return [...model.parameters].map(([name, parameter]) => {
    const { dtype, shape } = parameter.variable
    if (dtype !== "f32") throw fail(name, dtype)
    const [, of = "", side] = /^(.*)\.([uv])\.weight$/.exec(name) ?? []
    const factor = lowRank.has(of) ? { of, side: side as "u" | "v" } : undefined
    return { name, parameter, factor, decay: shape.length > 1 && !(factor && productDecay > 0) }
  })
}
