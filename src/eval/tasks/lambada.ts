import { Random } from "../../train/random.ts"
import { textField } from "../records.ts"
import type { Response, Task } from "../task.ts"
import { pick } from "../text/draw.ts"
import { tokenizerOf } from "../text/prompt.ts"
import { range, recordPlans, samplesOf } from "./plans.ts"

const task = { name: "lambada", defaults: { samples: 500 } }

/** The last word of a passage, which people guess from all of it and not from its last sentence alone. */
export const lambada: Task = {
  ...task,
  summary: "the last word of a passage",
  metric: "accuracy",
  better: "higher",
  source: "LAMBADA, Paperno et al. 2016, arXiv:1606.06031",
  data: ["lambada"],
  async plan(request, data) {
    const { length } = await data.read("lambada")
    return recordPlans(task, request, range(Math.min(samplesOf(task, request), length)))
  },
  async make(plan, context) {
    const where = `lambada:${plan.sample + 1}`
    const text = textField((await context.data.read("lambada"))[plan.sample], "text", where).trim()
    const at = text.search(/\s\S+$/u)
    if (at < 0) throw new RangeError(`${where}: number of words is 1, expected at least 2`)
    const tokenizer = tokenizerOf(context)
    const [start, word] = [text.slice(0, at), text.slice(at)]
    const prompt = await tokenizer.encode(start)
    const whole = await tokenizer.encode(text)
    const goesOn = prompt.every((id, i) => whole[i] === id) && whole.length > prompt.length
    const ending = goesOn ? whole.slice(prompt.length) : await tokenizer.encode(word, { bos: false })
    return { kind: "ending", prompt, ending, text: start, meta: { word: word.trim() } }
  },
  score(instance, response) {
    if (instance.kind !== "ending" || response.kind !== "ending") {
      throw new TypeError(`score: the kinds are ${instance.kind} and ${response.kind}, expected ending and ending`)
    }
    return { score: response.right ? 1 : 0, parts: { nats: response.loss } }
  },
  /** Nothing, the last word there is, and any word of the passage. */
  baselines(plan, instance) {
    const words = instance.text.match(/[\p{L}'’-]+/gu) ?? [""]
    const ending = (text: string): Response => ({
      kind: "ending",
      text,
      right: text === instance.meta.word,
      loss: Number.NaN,
    })
    return { empty: ending(""), echo: ending(words.at(-1)!), random: ending(pick(new Random(plan.seed + 1), words)) }
  },
}
