import { Random, seedFor } from "../../train/random.ts"
import { recall } from "../score/contains.ts"
import type { Task } from "../task.ts"
import { distinct, letters, shuffled } from "../text/draw.ts"
import { randomOf } from "../text/prompt.ts"
import { answerBaselines, answerInstance, answerText, drawFrom } from "./answers.ts"
import { answerTokens, gridPlans } from "./plans.ts"

/** Coded words there are; the first of all ranks is dots. */
const WORDS = 2000
const LETTERS = 6
const DOTS = "..."
const ASKED = 3

/** The Riemann zeta function at 2: what the sum of all k^-2 is. */
const ZETA_2 = Math.PI ** 2 / 6

/** From this many words on, the words of ranks 2 to 5 come so often that none ties with another. */
const FEWEST = 80

const task = {
  name: "frequent_words",
  defaults: { lengths: [1024, 2048, 4096, 8192], samples: 5, maxTokens: 64 },
}

/**
 * The three most frequent coded words, frequencies being those of Zipf's law with exponent 2. RULER's answers have 50 tokens; here 64, as
 * small vocabularies cut coded words finely.
 */
export const frequentWords: Task = {
  ...task,
  summary: "the three most frequent words of a coded text",
  metric: "recall",
  better: "higher",
  source: "RULER, Hsieh et al. 2024, arXiv:2404.06654, section 3.3",
  data: [],
  plan: async (request) => gridPlans(task, request),
  async make(plan, context) {
    const random = randomOf(plan)
    const words = [DOTS, ...distinct(WORDS, () => letters(random, LETTERS))]
    const refs = words.slice(1, 1 + ASKED)
    return await answerInstance(plan, context, {
      most: plan.length ?? 0,
      maxTokens: answerTokens(task, context.request),
      refs,
      meta: { words: refs },
      build: (size, pad) => question(coded(words, FEWEST + size, plan.seed) + pad),
    })
  },
  score(instance, response) {
    const { text, instance: asked } = answerText(instance, response)
    return { score: recall(text, asked.refs) }
  },
  baselines: (plan, instance) =>
    answerBaselines(plan, instance, (random) => drawFrom(random, codedPart(instance.text), /[a-z]{6}/g, ASKED)),
}

/** A text of `count` words: the word of rank k comes `count k^-2 / zeta(2)` times, those of half a time and more at least once. */
function coded(words: readonly string[], count: number, seed: number): string {
  const text: string[] = []
  for (let i = 0; i < words.length && text.length < count; i++) {
    const times = Math.max(1, Math.round(count / (ZETA_2 * (i + 1) ** 2)))
    for (let time = 0; time < times && text.length < count; time++) text.push(words[i]!)
  }
  return shuffled(new Random(seedFor(seed, "order")), text).join(" ")
}

const TASK =
  "Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared coded words."
const QUESTION =
  "\n\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three most frequently appeared words in the above coded text?"

function question(text: string): { user: string; prefix: string } {
  return {
    user: `${TASK}\n\n${text}${QUESTION}`,
    prefix: "Answer: According to the coded text above, the three most frequently appeared words are:",
  }
}

function codedPart(text: string): string {
  return text.slice(TASK.length, text.lastIndexOf(QUESTION))
}
