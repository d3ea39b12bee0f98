import { lossRatios } from "../score/loss_ratios.ts"
import type { Baselines, Instance, LossInstance, Response } from "../task.ts"

/** Losses of a text's tokens. */
export function lossesOf(instance: Instance, response: Response): { instance: LossInstance; losses: Float32Array } {
  if (instance.kind === "loss" && response.kind === "loss") return { instance, losses: response.losses }
  throw new TypeError(`score: the kinds are ${instance.kind} and ${response.kind}, expected loss and loss`)
}

/** Sums over a text from which means over several follow, and what they come to in this one. */
export function lossParts({ bytes, words }: LossInstance, losses: Float32Array) {
  const totals = { nats: losses.reduce((sum, loss) => sum + loss, 0), tokens: losses.length, bytes, words }
  return { ...totals, ...lossRatios(totals) }
}

/** UTF-8 bytes and words of a text. */
export function sizesOf(text: string): { bytes: number; words: number } {
  const words = text.split(/\s+/u).filter((word) => word !== "").length
  return { bytes: new TextEncoder().encode(text).byteLength, words: Math.max(1, words) }
}

/**
 * What is known without a model: `empty` and `random` take each byte for as likely as any other, `echo` each token for as likely as it was
 * among those before it, and one that was not for as likely as its share of the bytes.
 */
export function lossBaselines(instance: Instance): Baselines {
  if (instance.kind !== "loss") throw new TypeError(`baselines: the kind is ${instance.kind}, expected loss`)
  const { ids, from, bytes } = instance
  const perByte = Math.log(256)
  const even = new Float32Array(ids.length - from).fill((bytes * perByte) / (ids.length - from))
  const unseen = even[0] ?? 0
  const counts = new Map<number, number>()
  const echo = new Float32Array(ids.length - from)
  for (const [i, id] of ids.entries()) {
    const count = counts.get(id) ?? 0
    if (i >= from) echo[i - from] = Math.log(i + 1) - (count > 0 ? Math.log(count) : -unseen)
    counts.set(id, count + 1)
  }
  const response = (losses: Float32Array): Response => ({ kind: "loss", losses })
  return { empty: response(even), echo: response(echo), random: response(even) }
}
