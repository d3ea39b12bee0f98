import { type Random, seedFor } from "../../train/random.ts"
import { recall } from "../score/contains.ts"
import type { MakeContext, Plan, Task } from "../task.ts"
import { bookWords, readBooks } from "../text/books.ts"
import { digits, distinct, pick, pickSome } from "../text/draw.ts"
import { hide, type Needle } from "../text/haystack.ts"
import { groupRandom, type PromptText } from "../text/prompt.ts"
import { ADJECTIVES, CITIES, NOUNS } from "../text/words.ts"
import { answerBaselines, answerInstance, answerText } from "./answers.ts"
import { answerTokens, gridPlans, range } from "./plans.ts"

/** A form of the task: which needles there are, and how they and the question read. */
interface Form {
  readonly name: string
  readonly summary: string
  readonly source: string
  /** Of the one needle that is asked for. */
  readonly depths?: readonly number[]
  readonly maxTokens: number
  /** Keys that are asked for, and that are not. */
  readonly keys: number
  readonly others: number
  /** Numbers of each key. */
  readonly values: number
  readonly drawKey: (random: Random) => string
  readonly needle: (key: string, value: string) => string
  readonly ask: (haystack: string, keys: readonly string[]) => PromptText
}

const RULER = "RULER, Hsieh et al. 2024, arXiv:2404.06654, section 3.1"
const DEPTHS = [0, 25, 50, 75, 100]
const LENGTHS = [1024, 2048, 4096, 8192]

/** Digits of a number, as in RULER. */
const DIGITS = 7

/** Needles without a depth of their own lie on different points of a grid, as RULER's. */
const GRID = 40

const MANY =
  "Some special magic numbers are hidden within the following text. Make sure to memorize them. I will quiz you about them afterwards."
const ONE =
  "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about it afterwards."

const ruler = {
  source: RULER,
  maxTokens: 128,
  keys: 1,
  others: 0,
  values: 1,
  drawKey: (random: Random) => `${pick(random, ADJECTIVES)}-${pick(random, NOUNS)}`,
  needle: (key: string, value: string) => `One of the special magic numbers for ${key} is: ${value}.`,
  ask: askAll,
}

function askOne(haystack: string, [key]: readonly string[]): PromptText {
  return {
    user: `${ONE}\n\n${haystack}\n\nWhat is the special magic number for ${key} mentioned in the provided text?`,
    prefix: `The special magic number for ${key} mentioned in the provided text is`,
  }
}

function askAll(haystack: string, keys: readonly string[]): PromptText {
  const names = keys.length === 1 ? keys[0]! : `${keys.slice(0, -1).join(", ")}, and ${keys.at(-1)}`
  return {
    user: `${MANY}\n\n${haystack}\n\nWhat are all the special magic numbers for ${names} mentioned in the provided text?`,
    prefix: `The special magic numbers for ${names} mentioned in the provided text are`,
  }
}

const FORMS: readonly Form[] = [
  { ...ruler, name: "niah_single", summary: "one number hidden in books", depths: DEPTHS, ask: askOne },
  { ...ruler, name: "niah_multikey", summary: "one number of four keys", depths: DEPTHS, others: 3, ask: askOne },
  { ...ruler, name: "niah_multivalue", summary: "all four numbers of one key", values: 4 },
  { ...ruler, name: "niah_multiquery", summary: "the numbers of four keys", keys: 4 },
  {
    ...ruler,
    name: "niah_magic",
    summary: "the magic number of a city",
    source: "Gemini 1.5, Gemini Team 2024, arXiv:2403.05530, section 5.2.1.2",
    depths: DEPTHS,
    maxTokens: 32,
    drawKey: (random) => pick(random, CITIES),
    needle: (city, number) => `The special magic ${city} number is: ${number}.`,
    ask: (haystack, [city]) => ({
      user: `${haystack}\n\nWhat is the special magic ${city} number?`,
      prefix: `The special magic ${city} number is:`,
    }),
  },
]

/** Needles in a haystack of books. */
export const NIAH_TASKS: readonly Task[] = FORMS.map(niahTask)

function niahTask(form: Form): Task {
  const { name, summary, source, depths, maxTokens } = form
  const defaults = { lengths: LENGTHS, depths, samples: 2, maxTokens }
  const task = { name, defaults }
  return {
    name,
    summary,
    metric: "recall",
    better: "higher",
    source,
    data: ["books"],
    defaults,
    plan: async (request) => gridPlans(task, request),
    async make(plan, context) {
      const { needles, asked, refs } = drawNeedles(form, plan, context)
      const most = plan.length ?? 0
      const words = bookWords(await readBooks(context.data), seedFor(context.request.seed, `${plan.group} books`), most)
      return await answerInstance(plan, context, {
        most,
        maxTokens: answerTokens(task, context.request),
        refs,
        build: (size, pad) => form.ask(hide(words.slice(0, size), needles) + pad, asked),
        meta: { keys: asked, values: refs, depths: needles.map(({ depth }) => depth * 100) },
      })
    },
    score(instance, response) {
      const { text, instance: asked } = answerText(instance, response)
      return { score: recall(text, asked.refs) }
    },
    baselines: (plan, instance) =>
      answerBaselines(plan, instance, (random) =>
        range(form.keys * form.values)
          .map(() => digits(random, DIGITS))
          .join(", "),
      ),
  }
}

/** The needles of a group, which differ between depths in no more than their places. */
function drawNeedles(
  form: Form,
  plan: Plan,
  context: MakeContext,
): { needles: Needle[]; asked: string[]; refs: string[] } {
  const random = groupRandom(plan, context, " needles")
  const keys = distinct(form.keys + form.others, () => form.drawKey(random))
  const numbers = distinct(keys.length * form.values, () => digits(random, DIGITS))
  const grid = pickSome(random, range(GRID), numbers.length)
  const asked = keys.slice(0, form.keys)
  const needles = numbers.map((number, i) => {
    const depth = i === 0 && plan.depth !== undefined ? plan.depth / 100 : (grid[i]! + 0.5) / GRID
    return { text: form.needle(keys[i % keys.length]!, number), depth }
  })
  return { needles, asked, refs: numbers.filter((_, i) => i % keys.length < form.keys) }
}
