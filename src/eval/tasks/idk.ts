import { Random, seedFor } from "../../train/random.ts"
import type { MakeContext, Plan, Task } from "../task.ts"
import { below, letters, pick, shuffled } from "../text/draw.ts"
import { drawStory, type Story, UNKNOWN } from "../text/idk_story.ts"
import { randomOf } from "../text/prompt.ts"
import { answerBaselines, answerInstance, answerText } from "./answers.ts"
import { answerTokens, gridPlans, range } from "./plans.ts"

/** Of each ten samples of a length, so many have no answer in the story. */
const UNANSWERABLE = 7
const OF = 10

/** What else says that there is no answer. */
const REFUSAL =
  /don['’]?t know|do not know|cannot be (answered|determined)|can['’]?t be (answered|determined)|not (mentioned|stated|given|known)|no information/i

const task = {
  name: "idk",
  defaults: { lengths: [1024, 2048, 4096, 8192], samples: 10, maxTokens: 16 },
}

/** Whether a model says that it does not know what the text does not say. */
export const idk: Task = {
  ...task,
  summary: "a question about a story, seven times of ten without an answer in it",
  metric: "accuracy",
  better: "higher",
  source: "Michelangelo, Vodrahalli et al. 2024, arXiv:2409.12640, section 3.3",
  data: [],
  plan: async (request) => gridPlans(task, request),
  async make(plan, context) {
    const random = randomOf(plan)
    const answerable = isAnswerable(plan, context)
    const story = drawStory(random, answerable)
    const before = random.uniform()
    const noise = range(plan.length ?? 0).map(() => letters(random, 2 + below(random, 7)))
    return await answerInstance(plan, context, {
      most: noise.length,
      maxTokens: answerTokens(task, context.request),
      refs: [story.right],
      meta: { answerable, question: story.question, options: [...story.options, UNKNOWN], depth: before * 100 },
      build: (size, pad) => {
        const at = Math.round(size * before)
        return question(story, noise.slice(0, at).join(" "), noise.slice(at, size).join(" ") + pad)
      },
    })
  },
  score(instance, response) {
    const { text, instance: asked } = answerText(instance, response)
    const answer = letterOf(text) ?? (REFUSAL.test(text) ? "D" : undefined)
    return { score: answer === asked.refs[0] ? 1 : 0 }
  },
  baselines: (plan, instance) => answerBaselines(plan, instance, (random) => `(${pick(random, ["A", "B", "C", "D"])})`),
}

/** The option that an answer names: the letter that it begins with, or the first in brackets. */
function letterOf(text: string): string | undefined {
  return /^\W*([A-D])(?![A-Za-z'’]| [a-z])/.exec(text)?.[1] ?? /\(([A-D])\)/.exec(text)?.[1]
}

/** Exactly 70 % of ten samples of a length have no answer; which ones, the seed says. */
function isAnswerable({ length, sample }: Plan, { request }: MakeContext): boolean {
  const random = new Random(seedFor(request.seed, `${task.name}/${length}/${Math.floor(sample / OF)} order`))
  return shuffled(random, range(OF))[sample % OF]! >= UNANSWERABLE
}

function question({ text, question, options }: Story, before: string, after: string): { user: string; prefix: string } {
  const choices = [...options, UNKNOWN].map((option, i) => `(${"ABCD"[i]}) ${option}`).join("\n")
  return {
    user: `Somewhere among random letters below there is a short story. Answer the question about it.\n\n${before}\n\n${text}\n\n${after}\n\nQuestion: ${question}\n${choices}\nAnswer with the letter of the right option.`,
    prefix: "Answer: (",
  }
}
