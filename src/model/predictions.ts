import { crossEntropyBlock } from "../kernels/cross_entropy.ts"
import { rankEntropy } from "../kernels/rank_entropy.ts"
import { Run } from "../kernels/run.ts"
import type { Tensor } from "../kernels/tensor.ts"
import { expectTopK, topK } from "../kernels/top_k.ts"
import { hidden, successors } from "./evaluate.ts"
import { logits } from "./logits.ts"
import type { Model } from "./model.ts"

/** What a model expects after each of T tokens, K likeliest ones of each. Arrays are row-major. */
export interface Predictions {
  /** `[T]` */
  readonly tokens: readonly number[]
  /** K, how many are named. */
  readonly top: number
  /** `[T, K]`: the likeliest next tokens, the likeliest first, the lower id among equals. */
  readonly ids: Uint32Array
  /** `[T, K]`: their natural log-probabilities, under the softmax over the whole vocabulary. */
  readonly topLogProbs: Float32Array
  /** `[T]`: the entropy of that softmax, in nats. */
  readonly entropy: Float32Array
  /** `[T - 1]`: the natural log-probability of each token after the first, given those before it. */
  readonly logProbs: Float32Array
  /** `[T - 1]`: its rank among all tokens, from 1. */
  readonly ranks: Uint32Array
}

/** Of some tokens, on the host. */
interface Rows {
  readonly ids: Uint32Array
  readonly topLogProbs: Float32Array
  readonly entropy: Float32Array
  readonly loss: Float32Array
  readonly ranks: Uint32Array
}

/**
 * What a model expects after each token of a sequence. Logits are on the GPU for as many tokens as fit, and never here.
 *
 * @param top how many of the likeliest to name
 * @throws {RangeError} for more than the vocabulary has, or than 256
 */
export async function predictions(model: Model, tokens: readonly number[], top: number): Promise<Predictions> {
  expectTopK("predictions", top, model.config.vocabSize)
  const T = tokens.length
  const all: Rows = {
    ids: new Uint32Array(T * top),
    topLogProbs: new Float32Array(T * top),
    entropy: new Float32Array(T),
    loss: new Float32Array(T),
    ranks: new Uint32Array(T),
  }
  for await (const { from, x } of hidden(model, tokens)) {
    const rows = await told(model, x, successors(tokens, from, x.shape[0]!), top)
    for (const key of ["ids", "topLogProbs"] as const) all[key].set(rows[key], from * top)
    for (const key of ["entropy", "loss", "ranks"] as const) all[key].set(rows[key], from)
  }
  const { loss, ranks, ...rest } = all
  const logProbs = loss.subarray(0, T - 1).map((value) => -value)
  return { tokens, top, ...rest, logProbs, ranks: ranks.slice(0, T - 1) }
}

/** Of hidden states `[T, C]` and the tokens that follow. */
async function told(
  { device, network, pool }: Model,
  x: Tensor,
  next: Uint32Array<ArrayBuffer>,
  top: number,
): Promise<Rows> {
  const targets = device.tensor("scratch", [next.length], "u32")
  device.write(targets, next)
  const run = new Run(device, undefined, { exact: true })
  const all = logits(run, network, x)
  const scores = crossEntropyBlock(run, all, targets, { first: 0, cap: 0 })
  const { values, ids } = topK(run, all, top)
  const { ranks, entropy } = rankEntropy(run, all, targets, scores)
  const wanted = [values, ids, scores.softmax, scores.loss, ranks, entropy].map((tensor) => run.keep(tensor))
  const plan = run.plan(pool)
  try {
    plan.submit()
    const read = await Promise.all(wanted.map((tensor) => device.read(tensor)))
    const [v, i, softmax, loss, r, e] = read as [ArrayBuffer, ...ArrayBuffer[]]
    return {
      ids: new Uint32Array(i!),
      topLogProbs: logProbabilities(new Float32Array(v), new Float32Array(softmax!), top),
      entropy: new Float32Array(e!),
      loss: new Float32Array(loss!),
      ranks: new Uint32Array(r!),
    }
  } finally {
    plan.dispose()
    device.free(targets.storage.buffer!)
  }
}

/**
 * Of logits `[T, K]`, by what is known of all in their rows, `[T, 3]` as cross-entropy gives it: the largest, the sum of
 * exponentials relative to it, and one that is not used. Where logits are far from zero this order loses least.
 */
function logProbabilities(values: Float32Array, softmax: Float32Array, K: number): Float32Array {
  return values.map((value, i) => {
    const row = Math.floor(i / K) * 3
    return value - softmax[row]! - Math.log(softmax[row + 1]!)
  })
}
