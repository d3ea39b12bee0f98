import type { Random } from "../../train/random.ts"
import { recall } from "../score/contains.ts"
import type { Task } from "../task.ts"
import { digits, distinct, letters, shuffled } from "../text/draw.ts"
import { hide } from "../text/haystack.ts"
import { randomOf } from "../text/prompt.ts"
import { answerBaselines, answerInstance, answerText, drawFrom } from "./answers.ts"
import { answerTokens, gridPlans, range } from "./plans.ts"

const NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.".split(" ")
const HOPS = 4

/** The example's text is short: it shows the form. */
const EXAMPLE_WORDS = 40

/** Assignments that hand a number on from variable to variable. */
interface Chain {
  readonly value: string
  readonly names: readonly string[]
  readonly lines: readonly string[]
}

const task = {
  name: "variable_tracking",
  defaults: { lengths: [1024, 2048, 4096, 8192], samples: 5, maxTokens: 64 },
}

/** Which variables hold a number that was handed on. RULER's answers have 30 tokens; here 64, as small vocabularies cut names finely. */
export const variableTracking: Task = {
  ...task,
  summary: "all variables that hold a number handed on four times",
  metric: "recall",
  better: "higher",
  source: "RULER, Hsieh et al. 2024, arXiv:2404.06654, section 3.2",
  data: [],
  plan: async (request) => gridPlans(task, request),
  async make(plan, context) {
    const random = randomOf(plan)
    const names = distinct(2 * (HOPS + 1), () => letters(random, 5, { upper: true }))
    const [first, second] = distinct(2, () => digits(random, 5))
    const example = drawChain(second!, names.slice(HOPS + 1))
    const shown = question(hidden(example, EXAMPLE_WORDS, places(random)), example.value)
    const chain = drawChain(first!, names.slice(0, HOPS + 1))
    const depths = places(random)
    return await answerInstance(plan, context, {
      most: plan.length ?? 0,
      maxTokens: answerTokens(task, context.request),
      refs: chain.names,
      meta: { value: chain.value, names: chain.names, depths },
      build: (size, pad) => {
        const { user, prefix } = question(hidden(chain, size, depths) + pad, chain.value)
        return { user: `${shown.user}\n${shown.prefix} ${example.names.join(", ")}\n\n${user}`, prefix }
      },
    })
  },
  score(instance, response) {
    const { text, instance: asked } = answerText(instance, response)
    return { score: recall(text, asked.refs) }
  },
  baselines: (plan, instance) =>
    answerBaselines(plan, instance, (random) => drawFrom(random, instance.text, /\b[A-Z]{5}\b/g, HOPS + 1)),
}

function drawChain(value: string, names: readonly string[]): Chain {
  return { value, names, lines: names.map((name, i) => `VAR ${name} = ${i === 0 ? value : `VAR ${names[i - 1]}`}.`) }
}

/** Different places in rising order, so that each variable is assigned before it is used. */
function places(random: Random): number[] {
  return shuffled(random, range(20))
    .slice(0, HOPS + 1)
    .sort((a, b) => a - b)
    .map((at) => (at + 0.5) / 20)
}

function hidden({ lines }: Chain, words: number, depths: readonly number[]): string {
  const noise = range(words).map((i) => NOISE[i % NOISE.length]!)
  const needles = lines.map((text, i) => ({ text, depth: depths[i]! }))
  return hide(noise, needles, 1) // its sentences are short: one always ends near by
}

function question(text: string, value: string): { user: string; prefix: string } {
  return {
    user: `Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n${text}\n\nQuestion: Find all variables that are assigned the value ${value} in the text above.`,
    prefix: `Answer: According to the chain(s) of variable assignment in the text above, ${HOPS + 1} variables are assigned the value ${value}, they are:`,
  }
}
