import type { Message, WorkerLanguageModel } from "../engine.ts"
import type { Conversation, Mode, Turn } from "../storage/conversation.ts"

/** A conversation's mode with a model: its own, or the chat if the model has a template for it. */
export function modeWith(lm: WorkerLanguageModel, { mode }: Pick<Conversation, "mode">): Mode {
  if (!lm.tokenizer?.hasChatTemplate) return "text"
  return mode ?? "chat"
}

/**
 * The ids that answer a conversation. A template that takes no system message gets it before the first turn, as Gemma's do.
 *
 * @throws {TypeError} for a model without a tokenizer
 */
export async function promptOf(lm: WorkerLanguageModel, conversation: Conversation): Promise<number[]> {
  if (!lm.tokenizer) throw new TypeError(`${lm.name}: tokenizer.json is missing, expected it for text`)
  if (modeWith(lm, conversation) === "text") return lm.encode(plainText(conversation))
  const { system } = conversation
  const turns: Message[] = conversation.turns.map(({ role, text }) => ({ role, content: text }))
  if (system.trim() === "") return lm.encode(turns)
  try {
    return await lm.encode([{ role: "system", content: system }, ...turns])
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return lm.encode(folded(system, turns))
  }
}

function folded(system: string, [first, ...rest]: readonly Message[]): Message[] {
  return [{ role: first!.role, content: `${system}\n\n${first!.content}` }, ...rest]
}

/** All texts one after another: an answer goes on right behind what it answers, what the user adds begins a line. */
function plainText({ system, turns }: Conversation): string {
  const begin = system.trim() === "" ? "" : `${system}\n\n`
  return begin + turns.map((turn, i) => `${i > 0 && turn.role === "user" ? "\n" : ""}${turn.text}`).join("")
}

/** The turns up to the one that is to be answered. */
export function upTo(turns: readonly Turn[], id: string, inclusive: boolean): readonly Turn[] {
  const at = turns.findIndex((turn) => turn.id === id)
  return turns.slice(0, at + (inclusive ? 1 : 0))
}
