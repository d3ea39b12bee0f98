import { Random } from "../../train/random.ts"
import { bucketsOf } from "../score/positions.ts"
import type { MakeContext, Plan, Task } from "../task.ts"
import { readBooks } from "../text/books.ts"
import { shuffled } from "../text/draw.ts"
import { expectLength } from "../text/fit.ts"
import { tokenizerOf } from "../text/prompt.ts"
import { lossBaselines, lossesOf, lossParts, sizesOf } from "./losses.ts"
import { gridPlans } from "./plans.ts"

/** Characters that are encoded at first for each token that is wanted; doubled until they are enough. */
const CHARACTERS = 6

const task = { name: "position_loss", defaults: { lengths: [2048, 8192], samples: 4 } }

/** The loss at each position of a long text, in buckets that double: whether a model makes use of what is far back. */
export const positionLoss: Task = {
  ...task,
  summary: "loss by position in books",
  metric: "nats",
  better: "lower",
  source: "Gemini 1.5, Gemini Team 2024, arXiv:2403.05530, section 5.2.1.1",
  data: ["books"],
  plan: async (request) => gridPlans(task, request),
  async make(plan, context) {
    const { ids, title } = await beginning(plan, context, expectLength(plan, context))
    const text = await tokenizerOf(context).decode(ids.slice(1))
    return { kind: "loss", ids, from: 1, ...sizesOf(text), text, meta: { title } }
  },
  score(instance, response) {
    const { instance: asked, losses } = lossesOf(instance, response)
    const parts = lossParts(asked, losses)
    return { score: parts.nats_per_token, parts, positions: bucketsOf(losses, asked.from) }
  },
  baselines: (_, instance) => lossBaselines(instance),
}

/** The first `length` tokens of the sample's book; of the next that is long enough, if it is not. */
async function beginning(plan: Plan, context: MakeContext, length: number): Promise<{ ids: number[]; title: string }> {
  const books = await readBooks(context.data)
  const order = shuffled(new Random(context.request.seed), books)
  let longest = 0
  for (let i = 0; i < order.length; i++) {
    const { title, text } = order[(plan.sample + i) % order.length]!
    const ids = await firstTokens(text, context, length)
    if (ids.length === length) return { ids, title }
    longest = Math.max(longest, ids.length)
  }
  throw new RangeError(
    `${plan.id}: length is ${length}, expected at most ${longest}, as many tokens as the longest book has`,
  )
}

/** At most `length` tokens of a text, without all of it being encoded. */
async function firstTokens(text: string, context: MakeContext, length: number): Promise<number[]> {
  for (let characters = CHARACTERS * length; ; characters *= 2) {
    const ids = await tokenizerOf(context).encode(text.slice(0, characters))
    if (ids.length > length || characters >= text.length) return ids.slice(0, length)
  }
}
