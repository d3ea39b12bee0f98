import { expect } from "vitest"
import type { LanguageModel } from "../../src/index.ts"
import { internals } from "../../src/session.ts"
import { random } from "./random_checkpoint.ts"

/** Answers a prompt greedily; gives the tokens, the likeliest tokens' log-probabilities, and how much of the prompt was computed. */
export async function answer(lm: LanguageModel, ids: readonly number[], maxTokens: number) {
  const generation = lm.generate(ids, { temperature: 0, ignoreEos: true, maxTokens, logprobs: 20 })
  const logprobs: number[] = []
  for await (const piece of generation) {
    for (const { top } of piece.logprobs!) logprobs.push(...top.map(({ logprob }) => logprob))
  }
  const { prefillTokens, reusedTokens } = generation.timings
  expect(prefillTokens + reusedTokens).toBe(ids.length - 1)
  return { tokens: [...generation.tokens], logprobs, computed: prefillTokens }
}

/** So many random tokens of a vocabulary of V, none of the first three. */
export function randomTokens(count: number, seed: number, V: number): number[] {
  const next = random(seed)
  return Array.from({ length: count }, () => 3 + Math.floor(next() * (V - 3)))
}

/** Has a model know of no prompt any more, as when its adapters change, though it has none. */
export function forgetPrompts(lm: LanguageModel): void {
  internals(lm).model.adapt(new Map())
}
