import type { LanguageModel } from "./session.ts"

/** How far a model is from another that it was made of, over some tokens. */
export interface Divergence {
  /** Tokens that were predicted. */
  readonly tokens: number
  /** `exp` of the mean negative log-likelihood of what came next. */
  readonly perplexity: number
  /** The same of the other model. */
  readonly reference: number
  /** The mean of `KL(other || model)`, in nats. */
  readonly kl: number
  /** The share of tokens for which both find the same one likeliest. */
  readonly agreement: number
}

/**
 * Compares a model with a reference of the same vocabulary on what follows each token but the last of some sequences.
 *
 * @param sequences each of at most the smaller context; logits of one at a time, `[T, V]` twice, are in memory
 * @throws {RangeError} where nothing is predicted, or the vocabularies differ
 */
export async function divergence(
  model: LanguageModel,
  reference: LanguageModel,
  sequences: readonly (readonly number[])[],
): Promise<Divergence> {
  const V = model.config.vocabSize
  if (reference.config.vocabSize !== V) {
    throw new RangeError(`divergence: vocabulary is of ${V}, expected ${reference.config.vocabSize} as the reference's`)
  }
  const sums = { tokens: 0, loss: 0, reference: 0, kl: 0, agreed: 0 }
  for (const ids of sequences) {
    if (ids.length < 2) continue
    const [own, other] = [(await model.logits(ids)).data, (await reference.logits(ids)).data]
    for (let t = 0; t + 1 < ids.length; t++) {
      addRow(sums, own.subarray(t * V, (t + 1) * V), other.subarray(t * V, (t + 1) * V), ids[t + 1]!)
    }
  }
  const { tokens, loss, kl, agreed } = sums
  if (tokens === 0) throw new RangeError("divergence: sequences predict 0 tokens, expected at least 1")
  return {
    tokens,
    perplexity: Math.exp(loss / tokens),
    reference: Math.exp(sums.reference / tokens),
    kl: kl / tokens,
    agreement: agreed / tokens,
  }
}

interface Sums {
  tokens: number
  loss: number
  reference: number
  kl: number
  agreed: number
}

function addRow(sums: Sums, own: Float32Array, other: Float32Array, next: number): void {
  const [a, b] = [normalizer(own), normalizer(other)]
  let kl = 0
  for (let v = 0; v < own.length; v++) {
    const logProb = other[v]! - b.logSum
    kl += Math.exp(logProb) * (logProb - (own[v]! - a.logSum))
  }
  sums.tokens++
  sums.loss += a.logSum - own[next]!
  sums.reference += b.logSum - other[next]!
  sums.kl += kl
  if (a.likeliest === b.likeliest) sums.agreed++
}

function normalizer(logits: Float32Array): { readonly logSum: number; readonly likeliest: number } {
  let likeliest = 0
  for (let v = 1; v < logits.length; v++) if (logits[v]! > logits[likeliest]!) likeliest = v
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - logits[likeliest]!)
  return { logSum: logits[likeliest]! + Math.log(sum), likeliest }
}
