import { textField } from "../records.ts"
import type { Task } from "../task.ts"
import { tokenizerOf } from "../text/prompt.ts"
import { lossBaselines, lossesOf, lossParts, sizesOf } from "./losses.ts"
import { range, recordPlans, samplesOf } from "./plans.ts"

const task = { name: "perplexity", defaults: { samples: 100 } }

/** How well a model foretells texts: by token, and by byte and word, which compare between vocabularies. */
export const perplexity: Task = {
  ...task,
  summary: "perplexity by token, byte and word on short texts",
  metric: "nats",
  better: "lower",
  source: "perplexity by word and bits per byte: Gao et al. 2020, arXiv:2101.00027, section 3.1",
  data: ["texts"],
  async plan(request, data) {
    const texts = await data.read("texts")
    return recordPlans(task, request, range(Math.min(samplesOf(task, request), texts.length)))
  },
  async make(plan, context) {
    const tokenizer = tokenizerOf(context)
    const whole = textField((await context.data.read("texts"))[plan.sample], "text", `texts:${plan.sample + 1}`)
    const encoded = await tokenizer.encode(whole)
    const ids = encoded.slice(0, Math.min(plan.length ?? encoded.length, context.model.context))
    if (ids.length < 2) throw new RangeError(`${plan.id}: number of tokens is ${ids.length}, expected at least 2`)
    const starts = tokenizer.bos !== undefined && ids[0] === tokenizer.bos
    const isWhole = starts && ids.length === encoded.length
    const text = isWhole ? whole : await tokenizer.decode(ids.slice(1))
    return { kind: "loss", ids, from: 1, ...sizesOf(text), text, meta: { cut: ids.length < encoded.length } }
  },
  score(instance, response) {
    const { instance: asked, losses } = lossesOf(instance, response)
    const parts = lossParts(asked, losses)
    return { score: parts.nats_per_token, parts }
  },
  baselines: (_, instance) => lossBaselines(instance),
}
