import { show } from "../../model/keys.ts"
import { parseJson } from "../../model/source.ts"
import type { Message } from "../../tokenizer/chat.ts"
import { fieldOf, textField, textsField } from "../records.ts"
import { containsAny, recall } from "../score/contains.ts"
import { MARK_LENGTH, mrcrScore } from "../score/mrcr.ts"
import type { EvalData, Instance, MakeContext, Plan, Task, TaskRequest } from "../task.ts"
import { digits } from "../text/draw.ts"
import { encodePrompt, type Prompt, tokenizerOf } from "../text/prompt.ts"
import { answerBaselines, answerText } from "./answers.ts"
import { answerTokens, range, recordPlans, samplesOf } from "./plans.ts"

const ruler = { name: "ruler_file", defaults: { samples: 500, maxTokens: 128 } }
const mrcr = { name: "mrcr_file", defaults: { samples: 100, maxTokens: 1024 } }

/** Prompts that NVIDIA's RULER has made: `ruler.jsonl`, each line with `input`, `outputs` and perhaps `answer_prefix` and `task`. */
export const rulerFile: Task = {
  ...ruler,
  summary: "prompts from a file of RULER, ruler.jsonl",
  metric: "recall",
  better: "higher",
  source: "RULER, Hsieh et al. 2024, arXiv:2404.06654; github.com/NVIDIA/RULER",
  data: ["ruler"],
  plan: (request, data) => planAll(ruler, "ruler", request, data),
  async make(plan, context) {
    const where = `ruler:${plan.sample + 1}`
    const record = (await context.data.read("ruler"))[plan.sample]
    const prefix = fieldOf(record, "answer_prefix", where)
    const task = fieldOf(record, "task", where)
    const user = textField(record, "input", where)
    const prompt = await encodePrompt(context, { user, prefix: typeof prefix === "string" ? prefix.trim() : "" })
    const refs = textsField(record, "outputs", where)
    return fits(
      plan,
      context,
      prompt,
      answerTokens(ruler, context.request),
      refs,
      typeof task === "string" ? { task } : {},
    )
  },
  score(instance, response) {
    const { text, instance: asked } = answerText(instance, response)
    const isQuestion = String(asked.meta.task ?? "").startsWith("qa")
    return { score: isQuestion ? containsAny(text, asked.refs) : recall(text, asked.refs) }
  },
  baselines: (plan, instance) => answerBaselines(plan, instance, (random) => digits(random, 7)),
}

/**
 * Conversations of MRCR v2 or of OpenAI's MRCR: `mrcr.jsonl`, each line with `answer` and `queries` or `prompt`, which is a text or a
 * list of messages; and perhaps with `random_string_to_prepend`, else that is the answer's first 12 characters.
 */
export const mrcrFile: Task = {
  ...mrcr,
  summary: "conversations from a file of MRCR, mrcr.jsonl",
  metric: "similarity",
  better: "higher",
  source: "MRCR v2, Vodrahalli et al. 2024, arXiv:2409.12640; github.com/google-deepmind/eval_hub; OpenAI MRCR",
  data: ["mrcr"],
  plan: (request, data) => planAll(mrcr, "mrcr", request, data),
  async make(plan, context) {
    const where = `mrcr:${plan.sample + 1}`
    const record = (await context.data.read("mrcr"))[plan.sample]
    const target = textField(record, "answer", where)
    const mark = fieldOf(record, "random_string_to_prepend", where) ?? target.slice(0, MARK_LENGTH)
    const asked = fieldOf(record, "queries", where) ?? fieldOf(record, "prompt", where)
    const prompt = await promptOf(asked, where, context)
    return fits(plan, context, prompt, answerTokens(mrcr, context.request), [target], { mark })
  },
  score(instance, response) {
    const { text, instance: asked } = answerText(instance, response)
    const { lenient, strict } = mrcrScore(text, asked.refs[0]!, String(asked.meta.mark))
    return { score: lenient, parts: { strict } }
  },
  baselines: (plan, instance) =>
    answerBaselines(plan, instance, () => `${String(instance.meta.mark)} ${instance.text.slice(0, 1000)}`),
}

async function planAll(task: typeof ruler, name: string, request: TaskRequest, data: EvalData): Promise<Plan[]> {
  const { length } = await data.read(name)
  return recordPlans(task, { ...request, lengths: [] }, range(Math.min(samplesOf(task, request), length)))
}

/** A prompt that is a text, a list of messages, or such a list as text. */
async function promptOf(asked: unknown, where: string, context: MakeContext): Promise<Prompt> {
  const value = typeof asked === "string" && asked.trimStart().startsWith("[{") ? parseJson(asked, where) : asked
  if (typeof value === "string") return await encodePrompt(context, { user: value, prefix: "" })
  if (!Array.isArray(value) || value.length === 0) {
    throw new TypeError(`${where}: prompt is ${show(value)}, expected a text or a list of messages`)
  }
  const messages: Message[] = value.map((message) => {
    return { role: textField(message, "role", where), content: textField(message, "content", where) }
  })
  const text = messages.map(({ role, content }) => `${role}: ${content}`).join("\n\n")
  const tokenizer = tokenizerOf(context)
  const isChat = (context.format ?? (tokenizer.hasChatTemplate ? "chat" : "text")) === "chat"
  return isChat
    ? { ids: (await tokenizer.chat(messages)).ids, text }
    : await encodePrompt(context, { user: text, prefix: "" })
}

/** @throws {RangeError} if prompt and answer have more tokens than the model's context */
function fits(
  plan: Plan,
  { model }: MakeContext,
  { ids, text }: Prompt,
  maxTokens: number,
  refs: readonly string[],
  meta: Instance["meta"],
): Instance {
  const tokens = ids.length + maxTokens
  if (tokens > model.context) {
    throw new RangeError(
      `${plan.id}: length is ${tokens}, expected at most the context of ${model.name}, ${model.context}`,
    )
  }
  return { kind: "answer", prompt: ids, maxTokens, stop: [], refs, text, meta }
}
