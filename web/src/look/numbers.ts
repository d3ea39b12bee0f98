/** A probability for people: `12.3 %`. */
export function formatShare(share: number): string {
  return `${(100 * share).toPrecision(3)} %`
}

/** Three digits behind the point are as many as mean something. */
export function formatNats(nats: number): string {
  return nats.toFixed(3)
}
