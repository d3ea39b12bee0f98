import { Random, seedFor } from "../../train/random.ts"
import { textField } from "../records.ts"
import type { EvalData, Response, Task } from "../task.ts"
import { tokenizerOf } from "../text/prompt.ts"
import { recordPlans, samplesOf } from "./plans.ts"

const task = { name: "blimp", defaults: { samples: 10 } }

/** Two sentences of which one is English: whether a model finds that one more probable. */
export const blimp: Task = {
  ...task,
  summary: "grammatical or not: 67 kinds of sentence pairs, so many samples of each",
  metric: "accuracy",
  better: "higher",
  source: "BLiMP, Warstadt et al. 2020, TACL 8, arXiv:1912.00582",
  data: ["blimp"],
  async plan(request, data) {
    const paradigms = await paradigmsOf(data)
    const samples = samplesOf(task, request)
    const seen = new Map<string, number>()
    const taken = paradigms.flatMap((paradigm, i) => {
      const count = seen.get(paradigm) ?? 0
      seen.set(paradigm, count + 1)
      return count < samples ? [i] : []
    })
    return recordPlans(task, request, taken, (i) => paradigms[i]!)
  },
  async make(plan, context) {
    const record = (await context.data.read("blimp"))[plan.sample]
    const where = `blimp:${plan.sample + 1}`
    const right = new Random(plan.seed).uniform() < 0.5 ? 0 : 1
    const pair = [textField(record, "good", where), textField(record, "bad", where)]
    const texts = right === 0 ? pair : [...pair].reverse()
    const tokenizer = tokenizerOf(context)
    const options = await Promise.all(texts.map(async (text) => ({ ids: await tokenizer.encode(text), from: 1 })))
    const paradigm = textField(record, "paradigm", where)
    return {
      kind: "choice",
      options,
      right,
      text: texts.join("\n"),
      meta: { paradigm, field: textField(record, "field", where) },
    }
  },
  score(instance, response) {
    if (instance.kind !== "choice" || response.kind !== "choice") {
      throw new TypeError(`score: the kinds are ${instance.kind} and ${response.kind}, expected choice and choice`)
    }
    const best = response.losses[instance.right]!
    const others = response.losses.filter((_, i) => i !== instance.right)
    return { score: others.every((loss) => loss > best) ? 1 : 0 }
  },
  /** Neither, the one with fewer tokens, and any. */
  baselines(plan, instance) {
    const options = instance.kind === "choice" ? instance.options : []
    const random = new Random(seedFor(plan.seed, "random"))
    const choice = (losses: number[]): Response => ({ kind: "choice", losses })
    return {
      empty: choice(options.map(() => 0)),
      echo: choice(options.map(({ ids }) => ids.length)),
      random: choice(options.map(() => random.uniform())),
    }
  },
}

async function paradigmsOf(data: EvalData): Promise<string[]> {
  const records = await data.read("blimp")
  return records.map((record, i) => textField(record, "paradigm", `blimp:${i + 1}`))
}
