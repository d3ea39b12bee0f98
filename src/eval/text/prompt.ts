import { Random, seedFor } from "../../train/random.ts"
import type { EvalTokenizer, MakeContext, Plan } from "../task.ts"

/** What a user says, and what the model's answer begins with. */
export interface PromptText {
  readonly user: string
  readonly prefix: string
}

/** A prompt as ids and as people read it. */
export interface Prompt {
  readonly ids: readonly number[]
  readonly text: string
}

/** @throws {TypeError} if the model has no tokenizer */
export function tokenizerOf({ model }: Pick<MakeContext, "model">): EvalTokenizer {
  if (model.tokenizer) return model.tokenizer
  throw new TypeError(`eval: the tokenizer of ${model.name} is missing, expected one`)
}

/**
 * A prompt's ids: as a user's turn with the answer's beginning in the model's, or as plain text. By default what the checkpoint is made
 * for: a turn if it has a chat template.
 */
export async function encodePrompt(context: MakeContext, { user, prefix }: PromptText): Promise<Prompt> {
  const tokenizer = tokenizerOf(context)
  const text = prefix === "" ? user : `${user}\n${prefix}`
  const format = context.format ?? (tokenizer.hasChatTemplate ? "chat" : "text")
  if (format === "text") return { ids: await tokenizer.encode(text), text }
  const { ids } = await tokenizer.chat([{ role: "user", content: user }])
  return { ids: prefix === "" ? ids : [...ids, ...(await tokenizer.encode(prefix, { bos: false }))], text }
}

/** Numbers for what an instance alone has. */
export function randomOf(plan: Plan): Random {
  return new Random(plan.seed)
}

/** Numbers for what all instances of a group have in common. */
export function groupRandom(plan: Plan, context: MakeContext, part = ""): Random {
  return new Random(seedFor(context.request.seed, `${plan.group}${part}`))
}
