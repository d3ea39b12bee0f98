import { Random } from "../../train/random.ts"
import type { Baselines, Instance, MakeContext, Plan, Response } from "../task.ts"
import { pick } from "../text/draw.ts"
import { type Build, fitLength } from "../text/fit.ts"
import { range } from "./plans.ts"

type Asked = Extract<Instance, { kind: "answer" }>

/** An answer that is a text, to an instance that asks for one. */
export function answerText(instance: Instance, response: Response): { instance: Asked; text: string } {
  if (instance.kind === "answer" && response.kind === "answer") return { instance, text: response.text }
  throw new TypeError(`score: the kinds are ${instance.kind} and ${response.kind}, expected answer and answer`)
}

/** What an instance is made of once its prompt can be built in any size. */
export interface Draft {
  readonly build: Build
  /** The largest size. */
  readonly most: number
  readonly maxTokens: number
  readonly refs: readonly string[]
  readonly meta: Readonly<Record<string, unknown>>
}

/** The instance of exactly the plan's length. */
export async function answerInstance(plan: Plan, context: MakeContext, draft: Draft): Promise<Instance> {
  const { build, most, maxTokens, refs, meta } = draft
  const { ids, text } = await fitLength(plan, context, maxTokens, most, build)
  return { kind: "answer", prompt: ids, maxTokens, stop: [], refs, text, meta }
}

/** Answers without a model: nothing, the prompt, and one that `draw` makes up. */
export function answerBaselines(plan: Plan, instance: Instance, draw: (random: Random) => string): Baselines {
  const answer = (text: string): Response => ({ kind: "answer", text })
  return { empty: answer(""), echo: answer(instance.text), random: answer(draw(new Random(plan.seed + 1))) }
}

/** As many of the words of the prompt's context as there are references, drawn from what `pattern` finds. */
export function drawFrom(random: Random, text: string, pattern: RegExp, count: number): string {
  const found = [...new Set(text.match(pattern) ?? [])]
  return found.length === 0
    ? ""
    : range(count)
        .map(() => pick(random, found))
        .join(", ")
}
