import { Random, seedFor } from "../../train/random.ts"
import { MARK_LENGTH, mrcrScore } from "../score/mrcr.ts"
import type { MakeContext, Plan, Task } from "../task.ts"
import { drawNeedles, drawQuestion, fillers, type Needles, transcript } from "../text/conversation.ts"
import { alphanumeric, pick } from "../text/draw.ts"
import { expectLength, fitLength, fitSize } from "../text/fit.ts"
import { type PromptText, tokenizerOf } from "../text/prompt.ts"
import { request, type Writing, withArticle } from "../text/writing.ts"
import { answerBaselines, answerText } from "./answers.ts"
import { answerTokens, lengthsOf, planOf, range, samplesOf } from "./plans.ts"

const ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]

/** Questions to the same conversation, which is then read once for all. */
const QUESTIONS = 4

/** Share of the prompt that the needles may take, so that other exchanges lie between them. */
const NEEDLE_SHARE = 0.6

const INTRO =
  "Here is a conversation between a user and an assistant. At its end the user asks for one of the assistant's texts again."

/** A question to a conversation, and what it asks for. */
interface Question {
  readonly writing: Writing
  readonly ordinal: number
  readonly text: string
  readonly mark: string
}

/** Which of several texts to the same request: with 2, 4 and 8 of them. */
export const MRCR_TASKS: readonly Task[] = [2, 4, 8].map(mrcrTask)

function mrcrTask(count: number): Task {
  const task = {
    name: `mrcr_${count}`,
    defaults: { lengths: [2048, 4096, 8192], samples: QUESTIONS, maxTokens: 256 },
  }
  return {
    ...task,
    summary: `repeat one of ${count} texts that a conversation has of the same request`,
    metric: "similarity",
    better: "higher",
    source: "MRCR v2, Vodrahalli et al. 2024, arXiv:2409.12640; github.com/google-deepmind/eval_hub",
    data: [],
    plan: async (request) =>
      lengthsOf(task, request).flatMap((length) =>
        range(samplesOf(task, request)).map((sample) => {
          const group = `${task.name}/${length}/${Math.floor(sample / QUESTIONS)}`
          return planOf(task, request, { length, depth: undefined, sample }, group)
        }),
      ),
    async make(plan, context) {
      const maxTokens = answerTokens(task, context.request)
      const seed = seedFor(context.request.seed, plan.group)
      const needles = await drawConversation(plan, context, count, maxTokens)
      const questions = range(QUESTIONS).map((i) => questionOf(needles, plan, context, i))
      const asked = questions[plan.sample % QUESTIONS]!
      const target = `${asked.mark} ${asked.text}`
      await expectRoom(plan, context, target, maxTokens)
      const build = (question: Question) => (size: number, pad: string) =>
        prompt(transcript(needles, fillers(seed, size)), pad, question)
      // The conversation is as long as the longest of its questions allows, so that it is the same for all.
      const longest = await longestOf(questions, context)
      const { size } = await fitLength(plan, context, maxTokens, plan.length ?? 0, build(longest))
      const { ids, text } = await fitSize(plan, context, maxTokens, size, build(asked))
      const meta = { ...asked.writing, ordinal: asked.ordinal, mark: asked.mark, keys: needles.keys.length }
      return { kind: "answer", prompt: ids, maxTokens, stop: [], refs: [target], text, meta }
    },
    score(instance, response) {
      const { text, instance: asked } = answerText(instance, response)
      const { lenient, strict } = mrcrScore(text, asked.refs[0]!)
      return { score: lenient, parts: { strict } }
    },
    baselines: (plan, instance) =>
      answerBaselines(plan, instance, (random) => {
        const { mark, ...writing } = instance.meta as unknown as Writing & { mark: string }
        return `${mark} ${pick(random, answersTo(writing, instance.text))}`
      }),
  }
}

/** The needles of a group: as many keys as their share of the prompt has room for, at least one. */
async function drawConversation(plan: Plan, context: MakeContext, count: number, maxTokens: number): Promise<Needles> {
  const seed = seedFor(context.request.seed, `${plan.group} needles`)
  const one = await tokenizerOf(context).encode(transcript(drawNeedles(seed, 1, count), []), { bos: false })
  const room = NEEDLE_SHARE * (expectLength(plan, context) - maxTokens)
  return drawNeedles(seed, Math.max(1, Math.floor(room / one.length)), count)
}

/** Question `i` of a conversation. */
function questionOf(needles: Needles, { group }: Plan, { request }: MakeContext, i: number): Question {
  const random = new Random(seedFor(request.seed, `${group} question ${i}`))
  return { ...drawQuestion(needles, random), mark: alphanumeric(random, MARK_LENGTH) }
}

async function longestOf(questions: readonly Question[], context: MakeContext): Promise<Question> {
  const tokenizer = tokenizerOf(context)
  const tokens = await Promise.all(questions.map(async (question) => (await tokenizer.encode(ask(question))).length))
  return questions[tokens.indexOf(Math.max(...tokens))]!
}

/** A line of its own holds the padding, so that no text of the conversation gets any. */
function prompt(transcript: string, pad: string, question: Question): PromptText {
  return { user: `${INTRO}\n\n${transcript}\n\n======${pad}\n\nUser: ${ask(question)}`, prefix: "Assistant:" }
}

function ask({ mark, ordinal, writing: { format, topic, style } }: Question): string {
  const text = `the ${ORDINALS[ordinal]} ${format} about ${topic} in ${withArticle(style)} style`
  return `Prepend ${mark} to ${text}, word for word as it stands above, and output nothing else.`
}

/** The texts of a conversation that answer the same request. */
function answersTo(writing: Writing, conversation: string): string[] {
  const asked = `User: ${request(writing)}\nAssistant: `
  return conversation.split("\n\n").flatMap((part) => (part.startsWith(asked) ? [part.slice(asked.length)] : []))
}

/** @throws {RangeError} if the answer has more tokens than an answer may have */
async function expectRoom({ id }: Plan, context: MakeContext, target: string, maxTokens: number): Promise<void> {
  const { length } = await tokenizerOf(context).encode(target, { bos: false })
  if (length <= maxTokens) return
  throw new RangeError(`${id}: maxTokens is ${maxTokens}, expected at least ${length} for the text that is asked for`)
}
