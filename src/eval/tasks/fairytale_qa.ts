import { isObject, show } from "../../model/keys.ts"
import { textField, textsField } from "../records.ts"
import { exactMatch, f1, normalWords } from "../score/f1.ts"
import type { EvalData, MakeContext, Plan, Task } from "../task.ts"
import { sentenceWords } from "../text/books.ts"
import { pick } from "../text/draw.ts"
import { fitLength } from "../text/fit.ts"
import { encodePrompt, type PromptText } from "../text/prompt.ts"
import { answerBaselines, answerText } from "./answers.ts"
import { answerTokens, range, recordPlans, samplesOf } from "./plans.ts"

/** A question, and the tale that it is about. */
interface Question {
  readonly title: string
  readonly tale: string
  readonly question: string
  readonly answers: readonly string[]
}

const task = { name: "fairytale_qa", defaults: { samples: 200, maxTokens: 64 } }

/** Questions about tales. Where a tale is too long for the model, or for the length asked for, what lies around the answer is kept. */
export const fairytaleQa: Task = {
  ...task,
  summary: "questions about fairy tales",
  metric: "f1",
  better: "higher",
  source: "FairytaleQA, Xu et al. 2022, ACL, arXiv:2203.13947",
  data: ["fairytaleqa"],
  async plan(request, data) {
    const questions = await readQuestions(data)
    const taken = spread(samplesOf(task, request), questions.length)
    return recordPlans(task, request, taken, (i) => questions[i]!.title)
  },
  async make(plan, context) {
    const asked = (await readQuestions(context.data))[plan.sample]!
    const maxTokens = answerTokens(task, context.request)
    const whole = await encodePrompt(context, ask(asked, asked.tale))
    const room = Math.min(plan.length ?? context.model.context, context.model.context)
    const cut = whole.ids.length + maxTokens > room
    const { ids, text } = cut ? await around(asked, { ...plan, length: room }, context, maxTokens) : whole
    const meta = { title: asked.title, question: asked.question, cut }
    return { kind: "answer", prompt: ids, maxTokens, stop: [], refs: asked.answers, text, meta }
  },
  score(instance, response) {
    const { text, instance: asked } = answerText(instance, response)
    const line = text.trim().split("\n")[0]!
    return { score: f1(line, asked.refs), parts: { exact: exactMatch(line, asked.refs) } }
  },
  baselines: (plan, instance) =>
    answerBaselines(plan, instance, (random) => pick(random, instance.text.split(/(?<=[.!?])\s+/u))),
}

function ask({ question }: Question, tale: string): PromptText {
  return { user: `${tale}\n\nAnswer in a few words.\nQuestion: ${question}`, prefix: "Answer:" }
}

/** The prompt with as many words of the tale around the answer as there is room for. */
async function around(asked: Question, plan: Plan, context: MakeContext, maxTokens: number) {
  const words = sentenceWords(asked.tale)
  const middle = placeOf(asked, words)
  const part = (size: number) => {
    const from = Math.max(0, Math.min(middle - Math.floor(size / 2), words.length - size))
    return words.slice(from, from + size).join(" ")
  }
  return await fitLength(plan, context, maxTokens, words.length, (size, pad) => ask(asked, part(size) + pad))
}

/** Words that are looked at together for the place of the answer. */
const WINDOW = 40

/** The middle of the part of a tale that has the most words of the answer, and then of the question. */
function placeOf({ question, answers }: Question, words: readonly string[]): number {
  const answer = new Set(normalWords(answers[0]!))
  const about = new Set(normalWords(question))
  const worth = words.map((word) => {
    const [plain = ""] = normalWords(word)
    return (answer.has(plain) ? 3 : 0) + (about.has(plain) ? 1 : 0)
  })
  let [best, most, sum] = [0, -1, 0]
  for (let i = 0; i < worth.length; i++) {
    sum += worth[i]! - (worth[i - WINDOW] ?? 0)
    if (sum > most) [best, most] = [i, sum]
  }
  return Math.max(0, best - WINDOW / 2)
}

/** `count` of `all` records, evenly spread, so that a few questions are about many tales. */
function spread(count: number, all: number): number[] {
  const taken = Math.min(count, all)
  return range(taken).map((i) => Math.floor((i * all) / taken))
}

async function readQuestions(data: EvalData): Promise<Question[]> {
  const records = await data.read("fairytaleqa")
  return records.flatMap((record, i) => {
    const where = `fairytaleqa:${i + 1}`
    const [title, tale] = [textField(record, "title", where), textField(record, "text", where)]
    const questions = isObject(record) ? record.questions : undefined
    if (!Array.isArray(questions)) throw new TypeError(`${where}: questions is ${show(questions)}, expected a list`)
    return questions.map((entry) => {
      return {
        title,
        tale,
        question: textField(entry, "question", where),
        answers: textsField(entry, "answers", where),
      }
    })
  })
}
