import { Random, seedFor } from "../../train/random.ts"
import { recall } from "../score/contains.ts"
import type { Task } from "../task.ts"
import { shuffled } from "../text/draw.ts"
import { randomOf } from "../text/prompt.ts"
import { vocabulary } from "../text/vocabulary.ts"
import { answerBaselines, answerInstance, answerText, drawFrom } from "./answers.ts"
import { answerTokens, gridPlans } from "./plans.ts"

const COMMON = 10

/** How often the common words and the others come; in short texts less, so that there is room for others. */
const LONG = { from: 4096, common: 30, others: 3 }
const SHORT = { common: 6, others: 1 }

/** Other words of the example, which shows the form. */
const EXAMPLE_OTHERS = 20
const EXAMPLE_COMMON = 3

const task = {
  name: "common_words",
  defaults: { lengths: [1024, 2048, 4096, 8192], samples: 5, maxTokens: 120 },
}

/** The ten words that come most often in a list. */
export const commonWords: Task = {
  ...task,
  summary: "the ten most common words of a list",
  metric: "recall",
  better: "higher",
  source: "RULER, Hsieh et al. 2024, arXiv:2404.06654, section 3.3",
  data: ["books"],
  plan: async (request) => gridPlans(task, request),
  async make(plan, context) {
    const random = randomOf(plan)
    const words = shuffled(random, await vocabulary(context.data))
    const shown = words.splice(0, COMMON)
    const shownOthers = words.splice(0, EXAMPLE_OTHERS)
    const common = words.splice(0, COMMON)
    const times = (plan.length ?? 0) >= LONG.from ? LONG : SHORT
    const example = question(numbered(shown, EXAMPLE_COMMON, shownOthers, 1, plan.seed))
    const answer = shown.map((word, i) => `${i + 1}. ${word}`).join(" ")
    return await answerInstance(plan, context, {
      most: words.length,
      maxTokens: answerTokens(task, context.request),
      refs: common,
      meta: { words: common, times: times.common, others: times.others },
      build: (size, pad) => {
        const list = numbered(common, times.common, words.slice(0, size), times.others, plan.seed)
        const { user, prefix } = question(list + pad)
        return { user: `${example.user}\n${example.prefix} ${answer}\n\n${user}`, prefix }
      },
    })
  },
  score(instance, response) {
    const { text, instance: asked } = answerText(instance, response)
    return { score: recall(text, asked.refs) }
  },
  baselines: (plan, instance) =>
    answerBaselines(plan, instance, (random) => drawFrom(random, lastList(instance.text), /[a-z]{4,10}/g, COMMON)),
}

function numbered(
  common: readonly string[],
  commonTimes: number,
  others: readonly string[],
  otherTimes: number,
  seed: number,
): string {
  const repeat = (words: readonly string[], times: number) => words.flatMap((word) => Array<string>(times).fill(word))
  const all = shuffled(new Random(seedFor(seed, "order")), [
    ...repeat(common, commonTimes),
    ...repeat(others, otherTimes),
  ])
  return all.map((word, i) => `${i + 1}. ${word}`).join(" ")
}

const ASKED = "\n\nQuestion: What are the 10 most common words in the above list?"

function question(list: string): { user: string; prefix: string } {
  const intro = "Below is a numbered list of words. In these words, some appear more often than others."
  return {
    user: `${intro} Memorize the ones that appear most often.\n\n${list}${ASKED}`,
    prefix: "Answer: The top 10 words that appear most often in the list are:",
  }
}

/** The list that is asked about, behind that of the example. */
function lastList(text: string): string {
  const end = text.lastIndexOf(ASKED)
  return text.slice(text.lastIndexOf("\n\n", end - 1), end)
}
