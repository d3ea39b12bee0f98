/** Sums over texts: what a model's loss is a mean of. */
export interface LossTotals {
  /** Natural logarithms of probabilities, negative, summed. */
  readonly nats: number
  readonly tokens: number
  /** Of UTF-8. */
  readonly bytes: number
  readonly words: number
}

/** What sums of losses come to. By byte and by word they compare between vocabularies. */
export function lossRatios({ nats, tokens, bytes, words }: LossTotals) {
  return {
    nats_per_token: nats / tokens,
    bits_per_byte: nats / (bytes * Math.LN2),
    token_perplexity: Math.exp(nats / tokens),
    byte_perplexity: Math.exp(nats / bytes),
    word_perplexity: Math.exp(nats / words),
  }
}

/** The sums among a result's further numbers; undefined where it is no loss. */
export function lossTotals(parts: Readonly<Record<string, number>> | undefined): LossTotals | undefined {
  if (!parts) return undefined
  const { nats, tokens, bytes, words } = parts
  const all = [nats, tokens, bytes, words]
  if (!all.every(Number.isFinite) || !(tokens! > 0)) return undefined
  return { nats: nats!, tokens: tokens!, bytes: bytes!, words: words! }
}
