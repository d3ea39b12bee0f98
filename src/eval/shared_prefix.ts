import type { EvalModel } from "./task.ts"

/** Tokens from which on it is worth a step to have them computed once. */
const WORTH = 256

/**
 * Has a model compute what two prompts begin with, where that is long: caches that are rings cannot go back to where the second departs unless a prompt has
 * ended there. Where that was done before it is no work.
 *
 * @returns tokens that were computed
 */
export async function computeShared(
  model: EvalModel,
  prompt: readonly number[],
  next: readonly number[],
  signal: AbortSignal | undefined,
): Promise<number> {
  const departure = prompt.findIndex((id, i) => id !== next[i])
  const shared = departure === -1 ? prompt.length : departure
  if (shared < WORTH || shared >= prompt.length - 1) return 0
  // The last token of a prompt is what drawing begins with; all before it are written.
  const generation = model.generate(prompt.slice(0, shared), {
    maxTokens: 1,
    temperature: 0,
    ...(signal && { signal }),
  })
  for await (const _ of generation) signal?.throwIfAborted()
  return generation.timings?.prefillTokens ?? 0
}
