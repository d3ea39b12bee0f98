import type { EvalModel, Instance, Response } from "./task.ts"

/** What a model made of an instance, and what that took. */
export interface Responded {
  readonly response: Response
  readonly promptTokens: number
  readonly answerTokens: number
  readonly prefillTokens?: number | undefined
  readonly reusedTokens?: number | undefined
}

/**
 * Has a model do what an instance asks. Answers are the likeliest tokens, so that they can be had again.
 *
 * @throws {RangeError} for an instance that is longer than the model's context
 */
export async function respond(model: EvalModel, instance: Instance, signal?: AbortSignal): Promise<Responded> {
  switch (instance.kind) {
    case "answer":
      return answer(model, instance, signal)
    case "loss": {
      const losses = await lossesFrom(model, instance.ids, instance.from)
      return { response: { kind: "loss", losses }, promptTokens: instance.ids.length, answerTokens: 0 }
    }
    case "choice": {
      const losses: number[] = []
      for (const { ids, from } of instance.options) losses.push(sum(await lossesFrom(model, ids, from)))
      const promptTokens = instance.options.reduce((count, { ids }) => count + ids.length, 0)
      return { response: { kind: "choice", losses }, promptTokens, answerTokens: 0 }
    }
    case "ending":
      return ending(model, instance, signal)
  }
}

async function answer(
  model: EvalModel,
  { prompt, maxTokens, stop }: Extract<Instance, { kind: "answer" }>,
  signal: AbortSignal | undefined,
): Promise<Responded> {
  const generation = model.generate(prompt, { maxTokens, stop, temperature: 0, ...(signal && { signal }) })
  for await (const _ of generation) signal?.throwIfAborted()
  const { text, tokens, timings } = generation
  const { prefillTokens, reusedTokens } = timings ?? {}
  const took = { promptTokens: prompt.length, answerTokens: tokens.length, prefillTokens, reusedTokens }
  return { response: { kind: "answer", text }, ...took }
}

/** The loss of the right ending, and whether the model would have said it. */
async function ending(
  model: EvalModel,
  { prompt, ending }: Extract<Instance, { kind: "ending" }>,
  signal: AbortSignal | undefined,
): Promise<Responded> {
  const loss = sum(await lossesFrom(model, [...prompt, ...ending], prompt.length))
  const generation = model.generate(prompt, { maxTokens: ending.length, temperature: 0, ...(signal && { signal }) })
  for await (const _ of generation) signal?.throwIfAborted()
  const { text, tokens } = generation
  const right = ending.length === tokens.length && ending.every((id, i) => id === tokens[i])
  const response: Response = { kind: "ending", text, right, loss }
  return { response, promptTokens: prompt.length, answerTokens: tokens.length }
}

/** Negative log-likelihoods in nats of the tokens from position `from` on. */
async function lossesFrom(model: EvalModel, ids: readonly number[], from: number): Promise<Float32Array> {
  const { logProbs } = await model.score(ids)
  return logProbs.subarray(from - 1).map((each) => -each)
}

function sum(values: Float32Array): number {
  return values.reduce((total, each) => total + each, 0)
}
